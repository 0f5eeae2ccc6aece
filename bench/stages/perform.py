"""From a spec to a finished stage in the store: the one entrance for executors."""

import shutil
from collections.abc import Callable, Mapping

from bench.cell import Finished, StageKind, StageSpec
from bench.stages.audit_data import audit_data
from bench.stages.audit_row import audit_row
from bench.stages.cluster import cluster
from bench.stages.continual import continual
from bench.stages.control import control
from bench.stages.evaluate import evaluate
from bench.stages.few_steps import few_steps
from bench.stages.metatrain import metatrain
from bench.stages.place import Place, Result, provenance
from bench.stages.pretrain import pretrain

STAGES: Mapping[StageKind, Callable[[StageSpec, Place], Result]] = {
    "pretrain": pretrain,
    "cluster": cluster,
    "metatrain": metatrain,
    "evaluate": evaluate,
}
PROTOCOLS: Mapping[str, Callable[[StageSpec, Place], Result]] = {
    "few_steps": few_steps,
    "continual": continual,
    "control": control,
}
"""What a row is tested by where that is not on episodes, by the name in its inputs."""


def _function(spec: StageSpec) -> Callable[[StageSpec, Place], Result]:
    if spec.kind == "audit":
        return audit_data if spec.inputs["subject"] == "data" else audit_row
    protocol = spec.inputs.get("protocol")
    return PROTOCOLS[protocol] if protocol else STAGES[spec.kind]


def perform(spec: StageSpec, place: Place) -> None:
    """Run a stage and commit it, unless another process has meanwhile.

    Raises:
        Exception: whatever the method raises; nothing of the stage is then in the store.
    """
    with place.store.writing(spec.key) as partial:
        if place.store.has(spec.kind, spec.key):
            shutil.rmtree(partial)
        else:
            made = provenance(place.device)
            try:
                result = _function(spec)(spec, place)
            except Exception:
                shutil.rmtree(partial)  # its checkpoint holds what led here
                raise
            manifest = {
                "kind": spec.kind,
                "key": spec.key,
                "inputs": spec.inputs,
                "metrics": result.metrics,
                "curve": result.curve,
                "cost": result.cost,
                "provenance": made,
                **result.facts,
            }
            place.store.commit(spec, manifest, result.files)
    place.emit(Finished(key=spec.key))
