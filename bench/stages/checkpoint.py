"""Tensors and a little JSON in one file, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bench.cell import Json
from bench.store import write_atomic


def pack(tensors: Mapping[str, Tensor], note: Json = None) -> bytes:
    """Return tensors (and a JSON value) as the bytes of a safetensors file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, metadata={"note": json.dumps(note)})


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], note: Json) -> None:
    """Write a checkpoint over the one before."""
    write_atomic(path, pack(tensors, note))


def read_checkpoint(path: Path, made: Json) -> tuple[dict[str, Tensor], Json] | None:
    """Read a checkpoint; None where there is none that the same versions and device wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads(file.metadata()["note"])
            if note["made"] != made:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}, note  # noqa: SIM118
    except (FileNotFoundError, SafetensorError, KeyError, TypeError):
        return None


def chosen(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors with a prefix on their names."""
    return {prefix + name: value for name, value in tensors.items()}
