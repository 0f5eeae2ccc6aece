"""Whether a set can fill what a variant asks of it: ways, shots, queries, batches."""

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.catalogue import parameters
from bench.errors import UserError
from bench.new_tasks import members_of
from bench.of_numbers import predicted
from bench.suite import Protocol, Suite
from bench.tested import chosen, domains_of, groups_of
from bench.variant import Variant

if TYPE_CHECKING:
    from bench.contract import TaskShape, Validation

Lacking = tuple[str, str, str]  # what a selection asks for, what is there, what would work


def refuse_impossible(variant: Variant, suite: Suite) -> None:
    """Check a variant against the size of its data.

    Raises:
        UserError: more ways than classes, more shots and queries than examples, a batch
            beyond the training split, a selection beyond the validation split.
    """
    from bench.contract import AbstractInit, AbstractPretext

    train, pretrained = variant.facts.counts["train"], variant.pretrained
    examples = sum(pretrained.facts.counts["train"])
    _refuse_test(variant, suite)
    axis = "init" if "init" in variant.plugins else "pretext"
    trained = [(variant.names[axis], variant.pretraining)] if axis in variant.plugins else []
    if variant.embedding:
        trained.append((variant.embedding.names["pretext"], variant.embedding.pretraining))
    for name, whole in trained:
        for one in [each.objective for each in whole.candidates or (whole,)]:
            if isinstance(one, AbstractPretext | AbstractInit) and one.batch_size > examples:
                raise UserError(
                    variant.where,
                    f"batch_size {one.batch_size}, but {pretrained.title} has {examples} training"
                    " examples",
                    f"Use {{name: {name}, batch_size: {examples}}} or less.",
                )
    for part in (variant, variant.embedding):
        if part and part.validates:
            _refuse_validation(part, part.validates)
    if "tasks" in variant.plugins:
        _refuse_tasks(variant, suite, train)
    _refuse_selection(variant, suite)


def _refuse_test(variant: Variant, suite: Suite) -> None:
    protocol = suite.evaluate.protocol
    if predicted(variant.facts.form) and (protocol is None or protocol.name != "control"):
        found = (
            f"{variant.trained.title} holds {variant.facts.form}, of which numbers are predicted"
        )
        raise UserError(variant.where, found, "Write evaluate: {protocol: control, ...}.")
    if suite.held_out:
        _refuse_new_tasks(variant, suite)
    elif protocol is None:
        _refuse_episodes(variant, suite)
    elif protocol.name == "continual":
        _refuse_streams(variant, suite, protocol)
    else:
        _refuse_environments(variant, suite)


def _refuse_episodes(variant: Variant, suite: Suite) -> None:
    test, data = variant.tested.facts.counts["test"], variant.tested.title
    queries = suite.evaluate.queries
    if variant.ways > len(test):
        raise UserError(
            suite.where("ways"),
            f"{variant.ways} ways, but {data} has {len(test)} test classes",
            f"Use at most {len(test)}.",
        )
    if max(suite.shots) + queries > min(test):
        raise UserError(
            suite.where("evaluate", "queries"),
            f"{max(suite.shots)} shots + {queries} queries a class, but the smallest test class"
            f" of {data} has {min(test)} examples",
            f"Use at most {min(test)} in all.",
        )


def _refuse_streams(variant: Variant, suite: Suite, protocol: Protocol) -> None:
    """Check a whole stream against the split that is tested on, and that a rate is chosen on."""
    from bench.contract import Setting

    shown, groups = domains_of(protocol), groups_of(protocol)
    setting = Setting(form=variant.facts.form, norm=variant.norm, ways=variant.ways)
    if shown and (reason := shown.refuses(setting)):
        raise UserError(suite.where("evaluate", "domains"), reason, "Name another pretext.")
    classes, times = (variant.ways, groups) if shown else (variant.ways * groups, 1)
    each = times * (max(suite.shots) + suite.evaluate.queries)
    parts = [("test", variant.tested)]
    parts += [("val", variant.trained)] if chosen(variant, suite.evaluate) else []
    for split, domain in parts:
        counts, title = domain.facts.counts[split], domain.title
        if classes > len(counts):
            raise UserError(
                suite.where("evaluate", "groups"),
                f"streams of {classes} classes, but the {split} split of {title} has {len(counts)}",
                f"Use ways and groups that come to at most {len(counts)}.",
            )
        if each > min(counts):
            raise UserError(
                suite.where("evaluate", "queries"),
                f"{each} examples of each class in a stream, but the smallest of the {split} split"
                f" of {title} has {min(counts)}",
                "Use fewer shots and queries.",
            )


def _refuse_environments(variant: Variant, suite: Suite) -> None:
    """Check that each episode is an environment of its own, which holds support and queries."""
    evaluate = suite.evaluate
    parts = [("test", variant.tested, evaluate.episodes, "episodes")]
    if chosen(variant, evaluate):
        parts.append(("val", variant.trained, evaluate.rate_tasks, "rate_tasks"))
    for split, domain, episodes, key in parts:
        counts, title = domain.facts.counts[split], domain.title
        if "family" not in parameters(domain.source):
            found = f"control, but {title} holds no transitions of environments"
            raise UserError(variant.where, found, "Write data: {name: control, family: ...}.")
        if episodes > len(counts):
            raise UserError(
                suite.where("evaluate", key),
                f"{episodes} environments, but the {split} split of {title} has {len(counts)}",
                f"Use at most {len(counts)}.",
            )
        if max(suite.shots) + evaluate.queries > min(counts):
            raise UserError(
                suite.where("evaluate", "queries"),
                f"{max(suite.shots)} + {evaluate.queries} transitions, but {title} has"
                f" {min(counts)} of each environment",
                f"Use at most {min(counts)} in all.",
            )


def _refuse_new_tasks(variant: Variant, suite: Suite) -> None:
    """Check that each member of the family has the ways, and each split examples for a task."""
    from bench.contract import Setting

    setting = Setting(form=variant.facts.form, norm=variant.norm, ways=variant.ways)
    for name, member in members_of(suite):
        if variant.ways > member.num_classes:
            found = f"{variant.ways} ways, but {name} has {member.num_classes} classes"
            raise UserError(suite.where("ways"), found, f"Use at most {member.num_classes}.")
        reason = member.refuses(setting)
        if reason:
            raise UserError(suite.where("tasks", "family"), reason, f"Leave {name} out.")
    needed = variant.ways * (max(suite.shots) + suite.evaluate.queries)
    for split, domain in (("test", variant.tested), ("val", variant.trained)):
        held = sum(domain.facts.counts[split])
        if needed > held:
            raise UserError(
                suite.where("evaluate", "queries"),
                f"a task of {needed} examples, but the {split} split of {domain.title} has {held}",
                f"Use ways * (shots + queries) of at most {held}.",
            )


def _refuse_tasks(variant: Variant, suite: Suite, train: tuple[int, ...]) -> None:
    from bench.contract import AbstractTasks

    tasks = variant.plugins["tasks"]
    assert isinstance(tasks, AbstractTasks)
    name, data = variant.names["tasks"], variant.trained.title
    for shots in suite.shots:
        shape = variant.task_shape(shots)
        _refuse_clusters(variant, shape.ways, sum(train))
        most = len(train) if tasks.uses_labels else sum(train)
        if shape.ways > most:
            raise UserError(
                variant.where,
                f"{variant.label} trains on {shape.ways}-way tasks, but {data} can fill {most}",
                f"Use {_fewer_ways(variant, shape, most)} or less.",
            )
        needed = tasks.examples_needed(shape)
        if not tasks.uses_labels and needed > most:
            raise UserError(
                variant.where,
                f"{variant.label} trains on tasks of {needed} different examples, but {data} has"
                f" {most}",
                f"Use {_smaller_tasks(variant)}, {most} in all.",
            )
        if tasks.uses_labels and shape.shots + shape.queries > min(train):
            raise UserError(
                variant.where,
                f"{variant.label} trains on {shape.shots} shots + {shape.queries} queries a class,"
                f" but the smallest training class of {data} has {min(train)} examples",
                f"Use tasks: {{name: {name}, shots: ..., queries: ...}}, {min(train)} in all.",
            )


def _refuse_clusters(variant: Variant, ways: int, examples: int) -> None:
    clustered = variant.clustered
    if clustered and not ways <= clustered.k <= examples:
        data = variant.trained.title
        raise UserError(
            variant.where,
            f"{variant.label} makes k = {clustered.k} clusters of the {examples} training examples"
            f" of {data} for {ways}-way tasks",
            f"Use tasks: {{name: {variant.names['tasks']}, k: ...}}, from {ways} to {examples}.",
        )


def _fewer_ways(variant: Variant, shape: "TaskShape", most: int) -> str:
    """Name the key that gives tasks fewer ways: a head for the suite's ways fits no others."""
    from bench.contract import Setting

    setting = Setting(
        form=variant.facts.form,
        norm=variant.norm,
        ways=variant.ways,
        task=replace(shape, ways=most),
        fixed_classes=getattr(variant.plugins["tasks"], "fixed_classes", False),
        values=getattr(variant.plugins["tasks"], "values", False),
    )
    declined = variant.plugins["meta"].declines(setting)
    tasks = f"tasks: {{name: {variant.names['tasks']}, ways: {most}}}"
    return f"ways: {most}" if declined else tasks


def _refuse_validation(variant: Variant, asked: "Validation") -> None:
    """Check the episodes that a pretext learns from or is chosen by against the split."""
    data, val = variant.pretrained.title, variant.pretrained.facts.counts["val"]
    needed, ways = asked.shape.shots + asked.shape.queries, asked.shape.ways
    lacking = {
        "instances": ways > sum(val),
        "clusters": sum(val) // asked.cluster_size < 2 * ways or needed > asked.cluster_size,
        "labels": ways > len(val) or needed > min(val),
    }[asked.classes]
    if lacking:
        raise UserError(
            variant.where,
            f"validation episodes of {ways} {asked.classes} with {needed} examples each, but the"
            f" validation split of {data} has {len(val)} classes of at least {min(val, default=0)},"
            f" {sum(val)} examples in all",
            "Use smaller outer_ways, outer_queries or cluster_size, of clusters at least twice"
            " as many as ways.",
        )


def _refuse_selection(variant: Variant, suite: Suite) -> None:
    rule, data = variant.selection, variant.selected_on.title
    needs = {"pretext_val": _batch, "pseudo_val": _clusters, "label_val": _classes}
    lacking = None if rule.is_last else needs[rule.name](variant, suite)
    if lacking:
        asked, held, works = lacking
        found = f"{rule.name} asks for {asked}, but the validation split of {data} has {held}"
        raise UserError(rule.where, found, f"Use {works}, or selection: last.")


def _held(variant: Variant) -> int:
    """Return the validation examples that weights are selected on."""
    return sum(variant.selected_on.facts.counts["val"])


def _classes(variant: Variant, suite: Suite) -> Lacking | None:
    val, params = variant.selected_on.facts.counts["val"], variant.selection.params
    needed, most, fewest = params["shots"] + params["queries"], len(val), min(val)
    if variant.ways > most:
        fewer = f"ways: {most}, " if most > 1 else ""
        return f"{variant.ways}-way episodes", f"{most} classes", f"{fewer}selection: pseudo_val"
    if needed > fewest:
        works = f"{{name: label_val, shots: ..., queries: ...}}, {fewest} in all"
        return f"{needed} examples of each class", f"a class of {fewest}", works
    return None


def _clusters(variant: Variant, suite: Suite) -> Lacking | None:
    """Ask for twice as many clusters as ways: some come out too small for an episode."""
    size, held = variant.selection.params["cluster_size"], _held(variant)
    if held // size >= 2 * variant.ways:
        return None
    asked = f"clusters of about {size} examples, at least {2 * variant.ways} of them"
    works = f"{{name: pseudo_val, cluster_size: {held // (2 * variant.ways)}}} or less"
    return asked, f"{held} examples", works


def _batch(variant: Variant, suite: Suite) -> Lacking | None:
    from bench.contract import AbstractPretext, AbstractTasks

    held = _held(variant)
    tasks = variant.plugins.get("tasks")
    if isinstance(tasks, AbstractTasks):
        shapes = [variant.task_shape(number) for number in suite.shots]
        size, field, axis = max(map(tasks.examples_needed, shapes)), "ways", "tasks"
        if size > max(shape.ways for shape in shapes):
            works = f"{_smaller_tasks(variant)}, {held} in all"
            return (
                (f"tasks of {size} different examples", f"{held} examples", works)
                if size > held
                else None
            )
    else:
        pretext = variant.plugins["pretext"]
        assert isinstance(pretext, AbstractPretext)
        size, field, axis = pretext.batch_size, "batch_size", "pretext"
    if size <= held:
        return None
    works = f"{axis}: {{name: {variant.names[axis]}, {field}: {held}}} or less"
    return f"{field} {size}", f"{held} examples", works


def _smaller_tasks(variant: Variant) -> str:
    return f"tasks: {{name: {variant.names['tasks']}, ways: ..., shots: ..., queries: ...}}"
