"""Weights of an encoder as a file: what ``bench export-model`` writes and ``init`` reads.

A file is safetensors with the encoder's tensors, and a note of where they come from. Like a data
set it is known by its digest: planning keeps a copy in <cache>/weights/<sha256>.safetensors, and
stages open that, whatever has become of the file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bench.cell import Json
from bench.dataset import cache_folder
from bench.errors import UserError
from bench.store import write_atomic

WEIGHTS = "weights.safetensors"  # of a trained stage, beside its manifest
ENCODER = "encoder."


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A file of weights: its digest, the shapes of its encoder's tensors, and its note."""

    sha256: str
    shapes: Mapping[str, tuple[int, ...]]
    note: Mapping[str, Json]


def keep(file: Path, sha256: str, where: str) -> Weights:
    """Check a file against its digest, and keep a copy that stages can open.

    Raises:
        UserError: it cannot be read, is another file, or holds no tensors.
    """
    kept = _kept(sha256)
    try:
        content = file.read_bytes()
    except OSError as error:
        if not kept.is_file():
            found = f"{file} cannot be read ({error.strerror})"
            raise UserError(where, found, "Name a file that `bench export-model` wrote.") from error
        content = kept.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        works = f"If it is the one that is meant, write sha256: {found}."
        raise UserError(where, f"the sha256 of {file} is another", works)
    try:
        tensors, note = _tensors(content), _note(content)
    except (SafetensorError, ValueError, KeyError) as error:
        works = "Name a file that `bench export-model` wrote, or a safetensors file of an encoder."
        raise UserError(where, f"{file} is no safetensors file ({error})", works) from error
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, content)
    shapes = {name: value.shape for name, value in tensors.items()}
    return Weights(sha256=sha256, shapes=shapes, note=note)


def read(sha256: str) -> dict[str, np.ndarray]:
    """Return the encoder's tensors, by their names in a network, of a file that was kept."""
    content = _kept(sha256).read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256, f"the kept weights {sha256} are damaged"
    return _tensors(content)


def pack(weights: bytes, note: Mapping[str, Json]) -> bytes:
    """Return a trained stage's weights as a file of its encoder, with a note."""
    encoder = {k: v for k, v in load(weights).items() if k.startswith(ENCODER)}
    return save(encoder, metadata={"note": json.dumps(note, sort_keys=True)})


def _kept(sha256: str) -> Path:
    return cache_folder() / "weights" / f"{sha256}.safetensors"


def _tensors(content: bytes) -> dict[str, np.ndarray]:
    """Read the encoder's tensors; a file of a bare module has them without the prefix."""
    tensors = load(content)
    prefixed = any(name.startswith(ENCODER) for name in tensors)
    named = tensors if prefixed else {ENCODER + name: value for name, value in tensors.items()}
    return {name: value for name, value in named.items() if name.startswith(ENCODER)}


def _note(content: bytes) -> Mapping[str, Json]:
    """Read the note from the header, which safetensors' numpy reader leaves out."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    note = json.loads(header.get("__metadata__", {}).get("note", "{}"))
    return note if isinstance(note, dict) else {}
