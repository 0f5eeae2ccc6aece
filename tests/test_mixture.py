"""Several pretexts at once: the weighted sum of what each would compute alone."""

import copy

import pytest
import torch
from torch import Generator, Tensor, nn

from bench.catalogue import build
from bench.cell import Json
from bench.contract import AbstractNetwork, AbstractPretext, Tensors
from bench.form import Form
from bench.pretext.mixture import Mixture
from bench.pretext.rotation import Rotation

MEMBERS: list[Json] = ["rotation", {"name": "simclr", "temperature": 0.3}]


class Net(AbstractNetwork):
    """A linear encoder, and a head or one of its children."""

    def __init__(self, head: nn.Module) -> None:
        """Draw the encoder, the same one each time."""
        self._encoder = torch.randn(64, 7, generator=Generator().manual_seed(3))
        self._head = head

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return linear features."""
        return x.flatten(1) @ self._encoder

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Apply the head, or one of its children."""
        applied: Tensor = self._head.get_submodule(child or "")(z_BD)
        return applied

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return shaded images."""
        return x_BCHW * torch.rand(len(x_BCHW), 1, 1, 1, generator=rng)

    @property
    def params(self) -> Tensors:
        """Return the encoder, and the head's tensors by name."""
        named = {f"head.{name}": value for name, value in self._head.named_parameters()}
        return {"encoder.weight": self._encoder, **named}

    def using(self, params: Tensors) -> AbstractNetwork:
        """Return a network with other weights of the head."""
        other = copy.deepcopy(self._head)
        own = {n.removeprefix("head."): v for n, v in params.items()}
        other.load_state_dict({**other.state_dict(), **own})
        return Net(other)


def mixture_of(**params: Json) -> Mixture:
    """Return a mixture of rotation and simclr."""
    made = build("pretext", "mixture", {"members": MEMBERS, **params}, "here")
    assert isinstance(made, Mixture)
    return made


@pytest.mark.parametrize(
    ("weights", "factors"), [("uniform", (0.5, 0.5)), ([2.0, 0.25], (2.0, 0.25))]
)
def test_the_loss_is_the_weighted_sum_of_the_members(
    weights: Json, factors: tuple[float, float]
) -> None:
    """Each member sees the batch with its own head, draws after the one before, and is weighted.

    Its loss counts in units of its first value: here twice and four times the present one.
    """
    mixture = mixture_of(weights=weights)
    torch.manual_seed(0)
    head = mixture.head(7, Form(shape=(1, 8, 8), modality="image"))
    x = torch.rand(6, 1, 8, 8, generator=Generator().manual_seed(1))

    rng = Generator().manual_seed(2)
    alone = [
        member.loss(Net(head.get_submodule(str(place))), {}, x, rng)[0]
        for place, member in enumerate(mixture.members)
    ]
    scale = torch.stack(alone).detach() * torch.tensor([2, 4])
    loss, state = mixture.loss(Net(head), {"scale": scale}, x, Generator().manual_seed(2))
    assert loss.item() == pytest.approx(factors[0] / 2 + factors[1] / 4, rel=1e-6)
    assert state.keys() == {"scale"}
    assert torch.equal(state["scale"], scale)


@pytest.mark.parametrize(("first", "unit"), [(3.0, 3.0), (-3.0, 3.0), (0.0, 1.0)])
def test_the_first_losses_are_the_units(first: float, unit: float) -> None:
    """The first step notes the size of each loss, or 1 where it is 0; later steps divide by it."""

    class Looking(Rotation):
        def loss(
            self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
        ) -> tuple[Tensor, Tensors]:
            return x_BCHW.sum(), {}

    both = Mixture(members=(Looking(), Looking()))
    net = Net(nn.ModuleList([nn.Linear(7, 2), nn.Linear(7, 3)]))
    state = both.state(net)
    assert state["scale"].tolist() == [0, 0]
    loss, state = both.loss(net, state, torch.tensor([first]), Generator())
    assert state["scale"].tolist() == [unit, unit]
    assert loss.item() == first / unit
    loss, after = both.loss(net, state, torch.tensor([12.0]), Generator())
    assert torch.equal(after["scale"], state["scale"])
    assert loss.item() == pytest.approx(12 / unit)


def test_views_and_augmentation_are_those_of_the_members() -> None:
    """A budget counts the passes of every member; one member that augments suffices."""
    mixture = mixture_of()
    assert mixture.views == 4 + 2
    assert mixture.augments
    made = build("pretext", "mixture", {"members": ["rotation", "position"]}, "here")
    assert isinstance(made, AbstractPretext)
    assert not made.augments


def test_a_member_is_shown_its_own_head() -> None:
    """What a member may read of the parameters is the encoder and its own head."""
    mixture = mixture_of()
    seen: list[set[str]] = []

    class Looking(type(mixture.members[0])):  # type: ignore[misc]
        def loss(
            self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
        ) -> tuple[Tensor, Tensors]:
            seen.append(set(net.params))
            return x_BCHW.sum(), {"count": x_BCHW.new_ones(1)}

    looking = Looking()
    both = Mixture(members=(looking, looking))
    head = nn.ModuleList([nn.Linear(7, 2), nn.Linear(7, 3)])
    net = Net(head)
    _, state = both.loss(net, both.state(net), torch.rand(2, 1, 8, 8), Generator())
    assert seen == [{"encoder.weight", "head.weight", "head.bias"}] * 2
    assert set(state) == {"0/count", "1/count", "scale"}


def test_a_member_uses_other_weights_of_its_own_head() -> None:
    """What replaces ``head.*`` for a member replaces its child of the mixture's head alone."""
    outputs = []

    class Looking(Rotation):
        def loss(
            self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
        ) -> tuple[Tensor, Tensors]:
            zeros = {n: torch.zeros_like(v) for n, v in net.params.items() if n[:5] == "head."}
            outputs.append(net.using(zeros).head(net.encode(x_BCHW)).abs().sum())
            return net.head(net.encode(x_BCHW)).abs().sum(), {}

    looking = Looking()
    head = nn.ModuleList([nn.Linear(7, 2), nn.Linear(7, 3)])
    both, net = Mixture(members=(looking, looking)), Net(head)
    loss, _ = both.loss(net, both.state(net), torch.rand(2, 1, 8, 8), Generator())
    assert loss > 0
    assert outputs == [0, 0]
