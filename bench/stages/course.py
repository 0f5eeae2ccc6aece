"""The streams of a bank as tensors: what each group shows, and what is asked about it.

Shapes: T groups, N classes of a group, S support examples and Q queries of a group, B examples,
X examples of a class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.catalogue import rebuild
from bench.cell import Json, digest
from bench.contract import AbstractClassifying
from bench.episodes import StreamBank, draw_streams
from bench.stages.engine import in_parts
from bench.stages.place import Place
from bench.stages.source import modality_of, read_part, shown_as

Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Course:
    """A stream of T groups: support [T, S, ...] and queries [T, Q, ...], with their classes.

    They are examples as encoders see them, or features. Those of a group lie in rounds of one for
    each class, so that the support begins with the first shot of each.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor


class Courses:
    """The streams of a split, which name neither a row nor a seed."""

    def __init__(
        self,
        inputs: Mapping[str, Json],
        place: Place,
        data: Mapping[str, Json],
        count: int,
        embed: Embed | None,
    ) -> None:
        """Draw ``count`` streams; with ``embed`` they are of features, made once where possible.

        Examples are shown in domains on the CPU, stream by stream, since that may be drawn.
        """
        self._part, self._device, self._embed = read_part(data), place.device, embed
        described = inputs.get("domains")
        self._domains = rebuild("pretext", described) if described else None
        assert self._domains is None or isinstance(self._domains, AbstractClassifying)
        name = digest(described) if described else None
        self._at = (data["digest"], data["split"], name or "", inputs["ways"], inputs["queries"])
        self.bank: StreamBank = draw_streams(
            self._part.counts,
            data_digest=data["digest"],
            split=data["split"],
            groups=inputs["groups"],
            ways=inputs["ways"],
            shots=inputs["shots"],
            queries=inputs["queries"],
            streams=count,
            domains=name,
        )
        self._modality = modality_of(self._part.form)
        self._x = None if described else self._whole()

    def __call__(self, stream: int) -> Course:
        """Return a stream of the bank."""
        support_x, support_y = self._shown(stream, self.bank.support_ETKN[stream], "support")
        query_x, query_y = self._shown(stream, self.bank.query_ETQN[stream], "query")
        return Course(support_x=support_x, support_y=support_y, query_x=query_x, query_y=query_y)

    def _shown(self, stream: int, positions_TXN: np.ndarray, role: str) -> tuple[Tensor, Tensor]:
        classes_TN = torch.from_numpy(self.bank.classes_TN.copy())
        label_TB = classes_TN.repeat(1, positions_TXN.shape[1]).to(self._device)
        groups = range(len(positions_TXN))
        return torch.stack(
            [self._group(stream, t, positions_TXN[t], role) for t in groups]
        ), label_TB

    def _group(self, stream: int, group: int, positions_XN: np.ndarray, role: str) -> Tensor:
        """Return the examples, or features, of one group [B, ...]."""
        if self._x is not None:
            x = self._x[torch.from_numpy(positions_XN.ravel()).to(self._device)]
            return x if self._embed else self._modality.inputs(x)
        assert isinstance(self._domains, AbstractClassifying)
        assert self.bank.domains_ET is not None
        domain_B = torch.full((positions_XN.size,), int(self.bank.domains_ET[stream, group]))
        at = (*self._at, stream, group, role)
        x = shown_as(self._domains, self._part, positions_XN.ravel(), domain_B, *at)
        x = x.to(self._device)
        return in_parts(self._embed, x) if self._embed else x

    def _whole(self) -> Tensor:
        """Return the split on the device, as it is stored, or its features."""
        x = torch.from_numpy(np.array(self._part.examples)).to(self._device)
        embed = self._embed
        return in_parts(lambda one: embed(self._modality.inputs(one)), x) if embed else x
