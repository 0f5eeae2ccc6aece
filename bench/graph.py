"""From a variant, shots and a seed to a cell: its path of stages, each with what decides it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.auxiliary import parameters_of
from bench.catalogue import build, parameters, resolved
from bench.cell import Cell, Json, StageKind, StageSpec
from bench.collisions import planned
from bench.domains import Domain
from bench.new_tasks import NewTask
from bench.suite import LAST, Evaluate, Tune
from bench.tested import inputs_of, readouts
from bench.variant import Variant

if TYPE_CHECKING:
    from bench.contract import Validation

REVISIONS: Mapping[StageKind, int] = {
    "pretrain": 1,
    "cluster": 1,
    "metatrain": 1,
    "evaluate": 1,
}
"""Of the stage kinds' own code; raised when it changes numbers on purpose."""
FEW_STEPS = 1  # the same, of an evaluation on a held-out task


def path_of(
    variant: Variant, shots: int, seed: int, evaluate: Evaluate, new: NewTask | None = None
) -> tuple[Cell, list[StageSpec]]:
    """Return a cell and its stages, those it builds on first; ``new``: the task it is tested on."""
    specs: dict[str, StageSpec] = {}
    if "pretrain" in variant.phases:
        specs["pretrain"] = _pretrain(variant, seed)
    if "metatrain" in variant.phases:
        specs |= _clusters(variant, seed, _key(specs, "pretrain"))
        specs["metatrain"] = _metatrain(variant, shots, seed, specs)
    specs["evaluate"] = _evaluate(variant, shots, seed, evaluate, specs, new)
    cell = Cell(
        variant=variant.label,
        control=variant.control,
        data=variant.data,
        encoder=variant.names["encoder"],
        pretext=variant.names.get("pretext", "none"),
        init=variant.init,
        tasks=variant.names.get("tasks", "none"),
        auxiliary=variant.names.get("auxiliary", "none"),
        meta=variant.names["meta"],
        strategy=variant.names.get("strategy", ""),
        norm=variant.tested_norm,
        labels=variant.labels,
        ways=variant.ways,
        shots=shots,
        seed=seed,
        held_out=new.held.title if new else "",
        default_of=variant.default_of,
        params=_params(variant, shots, specs),
        stages={role: spec.key for role, spec in specs.items()},
    )
    return cell, list(specs.values())


def trial_of(
    variant: Variant, shots: int, seed: int, evaluate: Evaluate, tune: Tune
) -> tuple[Cell, list[StageSpec]]:
    """Return the same for a trial: trained alike, and tested on the validation split alone.

    By ``pseudo_val`` its classes are clusters of what an untrained encoder makes of it, one and
    the same for all trials: those of features that training changes would change with it.
    """
    asked = replace(evaluate, episodes=tune.episodes, queries=tune.queries)
    cell, (*path, tested) = path_of(variant, shots, seed, asked)
    inputs = {**tested.inputs, "data": variant.trained.split("val")}
    if variant.tuned_on == "pseudo_val":
        path.append(_pseudo_classes(variant, tune))
        inputs["needs"] = inputs["needs"] | {"cluster": path[-1].key}
    spec = StageSpec(kind="evaluate", inputs=inputs)
    return replace(cell, stages={**cell.stages, "evaluate": spec.key}), [*path, spec]


def _pseudo_classes(variant: Variant, tune: Tune) -> StageSpec:
    """Return the stage that clusters the validation split for all trials of an encoder."""
    count = sum(variant.facts.counts["val"])
    inputs: dict[str, Json] = {
        "clusters": {"k": count // tune.cluster_size, "partitions": 1},
        "norm": "group" if variant.norm == "group" else "batch",
        "budget": {"examples": count},
        "needs": {"pretrain": None},
    }
    common = _common(variant, "cluster", variant.trained, "val", tune.seeds[0])
    return StageSpec(kind="cluster", inputs=common | inputs)


def _pretrain(variant: Variant, seed: int) -> StageSpec:
    inputs: dict[str, Json] = {
        variant.objective: variant.described(variant.objective),
        "augment": variant.described("augment") if variant.augments("pretrain") else None,
        # Whose statistics are used is decided later: training uses the batch's.
        "norm": "group" if variant.norm == "group" else "batch",
        "budget": _budget(variant, "pretrain", 1),
        "needs": {},
    }
    rule = _selection(variant, "pretrain")
    inputs |= {"selection": rule} if rule else {}
    inputs |= {"validation": _validation(variant.validates)} if variant.validates else {}
    common = _common(variant, "pretrain", variant.pretrained, "train", seed)
    return StageSpec(kind="pretrain", inputs=common | inputs)


def _clusters(variant: Variant, seed: int, pretrained: str | None) -> dict[str, StageSpec]:
    """Return the stages that its tasks need: what clusters an embedding, and what trains that.

    The latter is left out where it is the one that the encoder starts from.
    """
    tasks, embedding = variant.clustered, variant.embedding
    if tasks is None:
        return {}
    trained = _pretrain(embedding, seed) if embedding else None
    inputs: dict[str, Json] = {
        "clusters": {"k": tasks.k, "partitions": tasks.partitions},
        "norm": "group" if variant.norm == "group" else "batch",
        "budget": {"examples": sum(variant.facts.counts["train"])},
        "needs": {"pretrain": trained.key if trained else None},
    }
    common = _common(variant, "cluster", variant.trained, "train", seed)
    spec = StageSpec(kind="cluster", inputs=common | inputs)
    own = trained is None or trained.key == pretrained
    return ({} if own or trained is None else {"embedding": trained}) | {"cluster": spec}


def _validation(validates: "Validation") -> dict[str, Json]:
    """Describe what draws the episodes of the validation split; their sizes are the pretext's."""
    name = "instances" if validates.classes == "instances" else "labels"
    return {"tasks": resolved("tasks", name, build("tasks", name, {}, "validation"))}


def _for_training(variant: Variant) -> dict[str, Json]:
    """Describe the meta-algorithm without what matters at test alone: such rows share training."""
    from bench.contract import AbstractMetaTrained

    meta, described = variant.plugins["meta"], variant.described("meta")
    assert isinstance(meta, AbstractMetaTrained)
    assert described is not None
    params = {k: v for k, v in described["params"].items() if k not in meta.test_only}
    return described | {"params": params}


def _metatrain(
    variant: Variant, shots: int, seed: int, specs: Mapping[str, StageSpec]
) -> StageSpec:
    shape = variant.task_shape(shots)
    inputs: dict[str, Json] = {
        "meta": _for_training(variant),
        "tasks": variant.described("tasks"),
        "augment": variant.described("augment") if variant.augments("metatrain") else None,
        "task": {"ways": shape.ways, "shots": shape.shots, "queries": shape.queries},
        "norm": variant.norm,
        "selection": _selection(variant, "metatrain") or LAST.name,
        "budget": _budget(variant, "metatrain", shots),
        "needs": {"pretrain": _key(specs, "pretrain")},
    }
    if "cluster" in specs:
        inputs["needs"]["cluster"] = specs["cluster"].key
    if variant.norm == "transductive":  # such training moves none: they are taken at its end
        inputs["running_statistics"] = "training split"
    if "auxiliary" in variant.plugins:
        inputs["auxiliary"] = variant.described("auxiliary")
    if variant.weights:
        inputs["weights"] = variant.weights
    common = _common(variant, "metatrain", variant.trained, "train", seed)
    return StageSpec(kind="metatrain", inputs=common | inputs)


def _evaluate(
    variant: Variant,
    shots: int,
    seed: int,
    evaluate: Evaluate,
    specs: Mapping[str, StageSpec],
    new: NewTask | None,
) -> StageSpec:
    trained = "metatrain" if "metatrain" in specs else "pretrain"
    inputs: dict[str, Json] = {
        **_test(variant, evaluate, new),
        "norm": variant.tested_norm,
        "ways": variant.ways,
        "shots": shots,
        "queries": evaluate.queries,
        "episodes": evaluate.episodes,
        "needs": {trained: _key(specs, trained)},
    }
    if variant.weights and not specs:
        inputs["weights"] = variant.weights
    if new and "test" in variant.elsewhere:  # the rate is chosen before the test's set is met
        inputs["rate_data"] = variant.trained.split("val")
    common = _common(variant, "evaluate", variant.tested, "test", seed)
    return StageSpec(kind="evaluate", inputs=common | inputs)


def _test(variant: Variant, evaluate: Evaluate, new: NewTask | None) -> dict[str, Json]:
    """Describe what a row does at test: as on a new task, by a protocol, or by its own method."""
    if new:
        return _few_steps(evaluate, new)
    return inputs_of(variant, evaluate) if evaluate.protocol else _adaptation(variant, evaluate)


def _adaptation(variant: Variant, evaluate: Evaluate) -> dict[str, Json]:
    """Describe how a row adapts to an episode of classes: by its own method."""
    from bench.contract import AbstractMeta

    meta = variant.plugins["meta"]
    assert isinstance(meta, AbstractMeta)
    steps = evaluate.test_steps if meta.test_steps is None else meta.test_steps
    return {"meta": variant.described("meta"), "readouts": readouts(steps)}


def _few_steps(evaluate: Evaluate, new: NewTask) -> dict[str, Json]:
    """Describe how every row learns a new task, and on what its rate is chosen."""
    return {
        "revision": FEW_STEPS,
        "protocol": "few_steps",
        "member": new.member,
        "family": list(new.family),
        "rates": list(evaluate.rates),
        "rate_tasks": evaluate.rate_tasks,
        "readouts": readouts(evaluate.test_steps),
    }


def _selection(variant: Variant, kind: StageKind) -> dict[str, Json] | None:
    """Return the rule that selects the weights of a stage, with its exam; None: the last ones.

    Meta-trained weights are examined by their own method, pre-trained ones by prototypes.
    """
    from bench.contract import AbstractMeta

    if variant.selection.is_last or kind != variant.phases[-1]:
        return None
    params: dict[str, Json] = dict(variant.selection.params)
    if "episodes" in params:
        own = kind == "metatrain"
        meta = variant.plugins["meta"] if own else build("meta", "none", {}, "selection")
        assert isinstance(meta, AbstractMeta)
        steps = params.pop("steps")
        params |= {
            "meta": variant.described("meta") if own else resolved("meta", "none", meta),
            "norm": variant.norm if own or variant.norm == "group" else meta.norm,
            "ways": variant.ways,
            "readouts": sorted({0, steps if meta.test_steps is None else meta.test_steps}),
        }
    return {"name": variant.selection.name, "params": params}


def _common(
    variant: Variant, kind: StageKind, data: Domain, split: str, seed: int
) -> dict[str, Json]:
    return {
        "revision": REVISIONS[kind],
        "data": data.split(split),
        "encoder": variant.described("encoder"),
        "precision": "float32",
        "seed": seed,
    }


def _budget(variant: Variant, phase: str, shots: int) -> dict[str, Json]:
    budget: dict[str, Json] = {
        "steps": variant.steps(phase, shots),
        "examples": variant.examples(phase, shots),
    }
    if phase == "pretrain" and variant.pretraining.candidates:
        tried = variant.pretraining.candidates
        budget["shares"] = [{"steps": one.steps, "examples": one.examples} for one in tried]
    return budget


def _key(specs: Mapping[str, StageSpec], kind: str) -> str | None:
    return specs[kind].key if kind in specs else None


def _params(variant: Variant, shots: int, specs: Mapping[str, StageSpec]) -> dict[str, Json]:
    """Return every resolved parameter of a cell by its dotted name."""
    flat: dict[str, Json] = {"selection": variant.selection.name, "norm.trained": variant.norm}
    flat |= {f"selection.{key}": value for key, value in variant.selection.params.items()}
    flat |= {"init.sha256": variant.weights} if variant.weights else {}
    flat |= {"tuned_on": variant.tuned_on} if variant.tuned_on else {}
    for axis in variant.plugins:
        described = variant.described(axis) or {}
        own = axis == "auxiliary"
        params = parameters_of(described) if own else parameters(variant.plugins[axis])
        flat |= {f"{axis}.{key}": value for key, value in params.items()}
    for kind in variant.phases:
        flat[f"{kind}.budget"] = variant.asked_for(kind)
        spent = specs[kind].inputs["budget"]
        flat |= {f"{kind}.{key}": spent[key] for key in ("steps", "examples")}
        tasks, examples = variant.batch(kind, shots)
        flat[f"{kind}.batch"] = f"{tasks} x {examples}" if kind == "metatrain" else f"{examples}"
    if variant.embedding:
        spec = specs.get("embedding", specs.get("pretrain"))
        assert spec is not None
        flat["embedding.budget"] = variant.embedding.asked_for("pretrain")
        spent = spec.inputs["budget"]
        flat |= {f"embedding.{key}": spent[key] for key in ("steps", "examples")}
        if "embedding" in specs:
            flat["embedding.batch"] = f"{variant.embedding.pretraining.batch_size}"
    if "metatrain" in specs:
        flat |= {f"task.{key}": value for key, value in specs["metatrain"].inputs["task"].items()}
        found = planned(variant, specs["metatrain"].inputs["task"]["ways"])
        flat |= {} if found is None else {"task.collisions": found}
    return flat
