"""What ``bench export-model`` writes: the encoder that a cell was tested with, and its story."""

import hashlib
from pathlib import Path

from bench import weights
from bench.cell import Cell, Json
from bench.dataset import open_known
from bench.errors import UserError
from bench.form import vocabulary_digest
from bench.plan import Plan
from bench.store import Store, write_atomic


def export_model(plan: Plan, store: Store, cell: Cell, out: Path) -> str:
    """Write a cell's encoder to a file; return the file's sha256.

    Raises:
        UserError: the cell trains nothing, has not run, or the file cannot be written.
    """
    trained = [kind for kind in ("pretrain", "metatrain") if kind in cell.stages]
    if not trained:
        raise UserError("CELL", f"{cell.id} trains no encoder", "Name a cell that does.")
    kind, key = trained[-1], cell.stages[trained[-1]]
    if not store.has(kind, key):
        raise UserError(
            "CELL", f"{cell.id} has not run", f"Run `bench run {plan.settings['file']}`."
        )
    content = weights.pack(store.read(kind, key, weights.WEIGHTS), _note(plan, store, cell, kind))
    try:
        write_atomic(out, content)
    except OSError as error:
        found = f"the file cannot be written ({error.strerror})"
        raise UserError(f"--out {out}", found, "Name a file in a folder you may write.") from error
    return hashlib.sha256(content).hexdigest()


def _note(plan: Plan, store: Store, cell: Cell, kind: str) -> dict[str, Json]:
    """Return what whoever uses the weights has to know: labels, data, stage, versions."""
    manifest = store.manifest(kind, cell.stages[kind])
    return {
        "labels": cell.labels,
        "suite": plan.name,
        "cell": cell.id,
        "stage": cell.stages[kind],
        "data": plan.settings["data"],
        "encoder": manifest["inputs"]["encoder"],
        "vocabulary": vocabulary_digest(open_known(manifest["inputs"]["data"]["digest"]).form),
        "norm": manifest["inputs"]["norm"],
        "provenance": manifest["provenance"],
    }
