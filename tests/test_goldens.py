"""Golden traces: five losses of every plug-in, on a CPU in float64.

A trace that changes while its plug-in's ``revision`` does not is a change of numbers that nobody
meant, and fails. ``python tests/test_goldens.py`` writes the traces that are missing or whose
revision was raised; it never overwrites another.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from bench.catalogue import KINDS, build, entries, load_class, resolved
from bench.cell import Json, StageSpec
from bench.contract import AbstractData, AbstractMeta, AbstractMetaTrained, Task
from bench.dataset import facts, open_dataset
from bench.episodes import draw_bank
from bench.errors import UserError
from bench.plan import make_plan
from bench.stages.continual import Scholar
from bench.stages.engine import Learner
from bench.stages.model import assemble
from bench.stages.perform import STAGES, perform
from bench.stages.place import Place
from bench.stages.source import modality_of, read_part
from bench.stages.streams import seed_default
from bench.store import Store
from bench.suite import read_suite

GOLDENS = Path(__file__).parent / "goldens"
STEPS = 5
CLOSE = 1e-9  # relative: other CPUs add up in another order
PICTURES = "golden-pictures"
COLOURS = "golden-colours"
ARCHIVE, WAVES = "UCRArchive_2018", "GoldenWaves"  # where time series lie, and a set made for this
SERIES = {
    "data": f"{{name: ucr, set: {WAVES}, least: 5}}",
    "encoder": "{name: tcn, width: 4, blocks: 2, kernel: 3}",
}
SENTENCES = "golden-sentences.csv"
TEXT = {
    "data": f"{{name: text_csv, path: {SENTENCES}}}",
    "encoder": "{name: transformer, width: 8, heads: 2}",
}
DRIVE = "{protocol: control, episodes: 5, queries: 2, test_steps: 3, rates: [0.1]}"
WORLDS = {
    "data": "{name: control, transitions: 20}",
    "encoder": "{name: mlp, width: 8}",
    "pretext": "{name: next_state, batch_size: 8}",
    "meta": "none",
    "evaluate": DRIVE,
}
# What examples are, the axes of a suite of such, and a pretext to train an encoder on.
KINDS_OF_DATA = {
    "series": (SERIES, "next_step"),
    "text": (TEXT, "masked_word"),
    "transition": (WORLDS, "next_state"),
}
HEAD = "name: golden\nshots: 1\nseeds: 1\n"
HEAD += f"budget: {{pretrain_steps: {STEPS}, metatrain_steps: {STEPS}}}\n"
TASKS = "ways: 3, shots: 2, queries: 2"
EVALUATE = "evaluate: {episodes: 5, queries: 2}\n"
STREAM = "{protocol: continual, groups: 3, episodes: 5, queries: 2, test_steps: 3, rates: [0.1]}"
MIXTURE: dict[str, Json] = {"name": "mixture", "members": ["rotation", "simclr"], "batch_size": 8}
LEARNED: dict[str, Json] = {
    "members": ["rotation", "simclr"],
    "batch_size": 8,
    "weights": "learned",
    "every": 2,
    "outer_queries": 3,
}
PARAMS: dict[str, dict[str, Json]] = {
    "data/unlabelled_folder": {"path": PICTURES, "size": 16},
    "data/image_folder": {"path": PICTURES, "size": 16},
    "data/ucr": {"set": "FiftyWords"},
    "data/text_csv": {"path": SENTENCES},
    "data/control": {"transitions": 20},
    "encoder/mlp": {"width": 8},
    "encoder/tcn": {"width": 4, "blocks": 2, "kernel": 3},
    "encoder/transformer": {"width": 8, "heads": 2},
    "pretext/mixture": LEARNED,
    "pretext/best_of": {"candidates": [MIXTURE], "draws": STEPS, "episodes": 2},  # a loss for each
    "meta/finetune": {"steps": 3},
    "tasks/pretext": {"family": ["rotation", "jigsaw", "recolour"]},
    "tasks/clusters": {"pretext": {"name": "rotation", "batch_size": 8}, "k": 6, "partitions": 2},
}
SMALL: dict[str, dict[str, Json]] = {
    "pretext": {"batch_size": 8},
    "init": {"batch_size": 8},
}


def names() -> list[str]:
    """Return every plug-in of bench itself that has a loss, as kind/name."""
    kinds = [kind for kind in KINDS if kind != "modality"]  # which computes no loss
    every = [(kind, one) for kind in kinds for one in entries(kind).values()]
    return [f"{kind}/{one.name}" for kind, one in every if one.package == "bench"]


def params_of(what: str) -> dict[str, Json]:
    """Return the parameters a plug-in is traced with: its defaults, but for sizes."""
    kind, name = what.split("/")
    if kind == "meta" and "tasks_per_step" in load_class(kind, name).__dataclass_fields__:  # type: ignore[attr-defined]
        return {"tasks_per_step": 2}
    return PARAMS.get(what, SMALL.get(kind, {}))


def suite_of(what: str) -> str:
    """Return a suite whose one training shows what a plug-in computes."""
    kind, name = what.split("/")
    own = json.dumps({"name": name, **params_of(what)})
    axes = {
        "data": "glyphs",
        "encoder": "{name: conv4, width: 4}",
        "tasks": f"{{name: labels, {TASKS}}}",
        "meta": "protonet",
    }
    other, suits = KINDS_OF_DATA.get(_kind_of_data(kind, name), ({}, "rotation"))
    axes |= other
    if kind == "augment" and other:
        axes |= {"pretext": "{name: simclr, batch_size: 8}", "meta": "none"}
    elif kind == "augment":
        pictures = json.dumps({"name": "image_folder", **PARAMS["data/image_folder"]})
        axes |= {"pretext": "{name: simclr, batch_size: 8}", "meta": "none", "augment": "affine"}
        axes["data"] = pictures  # in colour, for those that change colours
    elif kind == "encoder":
        axes |= {"pretext": f"{{name: {suits}, batch_size: 2}}", "meta": "none", kind: own}
    elif kind in ("pretext", "init"):
        axes |= {"meta": "none", kind: own}
    elif kind == "strategy":
        pretext = "{name: rotation, batch_size: 8}"  # with which it may go on
        axes |= {"meta": "none", "pretext": pretext, kind: own, "evaluate": STREAM}
    elif kind == "tasks":
        sizes = {"ways": 1 if suits == "next_state" else 3, "shots": 1, "queries": 2}
        axes[kind] = json.dumps({"name": name, **params_of(what), **sizes})
        axes["meta"] = "maml" if suits == "next_state" else "protonet"  # which learns classes
    elif what == "data/unlabelled_folder":  # which is for pre-training alone
        size = PARAMS["data/image_folder"] | {"path": COLOURS}
        train = json.dumps({"name": "image_folder", **size})
        axes |= {"data": f"{{pretrain: {own}, train: {train}, test: {train}}}", "meta": "none"}
        axes["pretext"] = "{name: rotation, batch_size: 8}"
    else:
        axes[kind] = own
    if what == "encoder/raw":
        axes["pretext"] = "none"
    elif what == "pretext/colorize":
        axes["data"] = f"{{name: image_folder, path: {COLOURS}, size: 16}}"
    axes |= {} if axes.get("evaluate") == DRIVE else {"ways": "3"}
    written = HEAD + "".join(f"{axis}: {value}\n" for axis, value in axes.items())
    return written if "evaluate" in axes else f"{written}{EVALUATE}"


def _kind_of_data(kind: str, name: str) -> str:
    """Return the only kind of data that a plug-in is made for, or that it reads."""
    made = load_class(kind, name)
    if issubclass(made, AbstractData):
        return made.modality
    return made.modalities[0] if made.modalities and len(made.modalities) == 1 else "image"


def trace(what: str, root: Path) -> list[float]:
    """Return five losses of a plug-in; ``root`` holds the data sets."""
    kind, name = what.split("/")
    with tempfile.TemporaryDirectory() as folder, _float64():
        spec, below = _stages(what, Path(folder), root)
        if kind == "augment":
            policy = resolved(kind, name, build(kind, name, {}, what))
            spec = replace(spec, inputs={**spec.inputs, "augment": policy})
        store = Store(Path(folder) / "results")
        store.prepare()
        place = Place(
            store=store,
            device=torch.device("cpu"),
            emit=lambda event: None,
            checkpoint_seconds=float("inf"),
        )
        for one in below:  # what tasks are made of
            perform(one, place)
        if spec.kind == "evaluate":
            return _streams(spec, place) if kind == "strategy" else _episodes(spec, place)
        losses = STAGES[spec.kind](spec, place).curve["loss"]
        return [float("nan" if loss is None else loss) for loss in losses]


def _stages(what: str, folder: Path, root: Path) -> tuple[StageSpec, list[StageSpec]]:
    """Return the stage that is traced, and those that it needs, in their order."""
    (folder / "suite.yaml").write_text(suite_of(what))

    def facts_of(name: str, source: AbstractData) -> object:
        return facts(open_dataset(source, name, root))

    plan = make_plan(read_suite(folder / "suite.yaml"), facts_of)  # type: ignore[arg-type]
    cell = next((cell for cell in plan.cells if not cell.control), plan.cells[0])
    kinds = ["metatrain" if "metatrain" in cell.stages else "pretrain", "evaluate"]
    if cell.strategy:
        kinds = ["evaluate"]
    key = next(cell.stages[kind] for kind in kinds if kind in cell.stages)
    below = list(cell.stages.values())
    return plan.stages[key], [plan.stages[one] for one in below[: below.index(key)]]


def _episodes(spec: StageSpec, place: Place) -> list[float]:
    """Return the cross-entropy of each of five test episodes, after the last step."""
    inputs = spec.inputs
    meta = build("meta", inputs["meta"]["name"], inputs["meta"]["params"], "golden")
    assert isinstance(meta, AbstractMeta)
    assert not isinstance(meta, AbstractMetaTrained)
    part = read_part(inputs["data"])
    model = assemble(
        inputs, place, part.form, lambda width: torch.nn.Identity(), "golden",
        channels_last=False,
    )  # fmt: skip
    learner = Learner(model.network, model.buffers, inputs["norm"], training=False)
    bank = draw_bank(
        part.counts, data_digest=inputs["data"]["digest"], split="test", ways=inputs["ways"],
        shots=inputs["shots"], queries=inputs["queries"], episodes=STEPS,
    )  # fmt: skip
    x = modality_of(part.form).inputs(torch.from_numpy(np.array(part.examples)))
    label = torch.arange(inputs["ways"])
    losses = []
    for support, query in zip(bank.support_ENK, bank.query_ENQ, strict=True):
        task = Task(
            support_x=x[support.T.ravel()],
            support_y=label.repeat(support.shape[1]),
            query_x=x[query.T.ravel()],
            query_y=label.repeat(query.shape[1]),
            ways=len(label),
        )
        seed_default("golden")
        trajectory = meta.adapt(learner, model.params, task.support_x, task.support_y)
        *_, params = [p for _, p in zip(range(meta.test_steps or 1), trajectory, strict=False)]
        losses.append(F.cross_entropy(meta.predict(learner, params, task), task.query_y).item())
    return losses


def _streams(spec: StageSpec, place: Place) -> list[float]:
    """Return the cross-entropy of all queries of each of five streams, after the last group."""
    inputs = spec.inputs
    scholar = Scholar(inputs, place, read_part(inputs["data"]).form)
    courses = scholar.courses(inputs["data"], STEPS)
    losses = []
    for number in range(STEPS):
        course = courses(number)
        *_, params = scholar.follow(course, scholar.least_rate, number)
        task = Task(
            support_x=course.support_x.flatten(0, 1),
            support_y=course.support_y.flatten(),
            query_x=course.query_x.flatten(0, 1),
            query_y=course.query_y.flatten(),
            ways=inputs["ways"] * inputs["groups"],
        )
        losses.append(F.cross_entropy(scholar.scores(params, task), task.query_y).item())
    return losses


@contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def fill(root: Path) -> Path:
    """Write fifteen classes of five pictures, series and sentences; link to the real sets."""
    _link(Path(os.environ.get("BENCH_DATA") or root / "nothing"), root)
    _write_waves(root / ARCHIVE / WAVES)
    _write_sentences(root / SENTENCES)
    ramp = np.add.outer(np.arange(16), np.arange(16))
    for number in range(75):
        pixels = (ramp * (number // 5 + 1) + 3 * number) % 256
        channels = {PICTURES: [pixels] * 3, COLOURS: [pixels, pixels[::-1], 255 - pixels[:, ::-1]]}
        for name, each in channels.items():
            folder = root / name / f"class {number // 5}"
            folder.mkdir(parents=True, exist_ok=True)
            picture = np.stack(each, axis=2).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{number}.png")
    return root


def _link(real: Path, root: Path) -> None:
    """Link to every real set; the archive of series is a folder of links, that one may be added."""
    for one in real.glob("*"):
        if one.name != ARCHIVE:
            (root / one.name).symlink_to(one)
    (root / ARCHIVE).mkdir()
    for one in (real / ARCHIVE).glob("*"):
        (root / ARCHIVE / one.name).symlink_to(one)


def _write_waves(folder: Path) -> None:
    """Write two files of series of 40 steps, parabolas that repeat: no sine, which may differ."""
    folder.mkdir()
    lines = []
    for number in range(75):
        steps = (np.arange(40) * (number // 5 + 2) + 3 * number) % 32
        values = (steps * (31 - steps) + number).tolist()
        lines.append("\t".join(map(str, [number // 5 + 1, *values])))
    (folder / f"{WAVES}_TRAIN.tsv").write_text("\n".join(lines[::2]))
    (folder / f"{WAVES}_TEST.tsv").write_text("\n".join(lines[1::2]))


def _write_sentences(file: Path) -> None:
    """Write sentences of words of their class among words of all, of different lengths."""
    rows = ["text,label"]
    for number in range(75):
        own = number // 5
        common = [f"common{(number * step) % 11}" for step in range(2, 6 + number % 4)]
        rows.append(f"topic{own} {' '.join(common)} about{own},class {own}")
    file.write_text("\n".join(rows))


def path_of(what: str) -> Path:
    """Return where the trace of a plug-in is kept."""
    return GOLDENS / f"{what.replace('/', '-')}.json"


def revision_of(what: str, root: Path) -> int:
    """Return a plug-in's revision; raises UserError where it needs what this machine lacks."""
    kind, name = what.split("/")
    plugin = build(kind, name, params_of(what), what)
    if isinstance(plugin, AbstractData):
        plugin.fingerprint(root)
    return plugin.revision


# --- the tests


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the data sets."""
    return fill(tmp_path_factory.mktemp("golden-data"))


def test_every_plug_in_has_its_golden() -> None:
    """The set of golden traces is the set of plug-ins: none is missing, none is left over."""
    assert {path.name for path in GOLDENS.glob("*.json")} == {path_of(w).name for w in names()}


@pytest.mark.parametrize("what", names())
def test_a_trace_is_what_it_was(what: str, root: Path) -> None:
    """Five losses of each plug-in are those that were kept with its revision."""
    kept = json.loads(path_of(what).read_text())
    try:
        revision = revision_of(what, root)
    except UserError as error:  # a set or an extra that this machine lacks
        pytest.skip(str(error))
    assert revision == kept["revision"], "the revision was raised: python tests/test_goldens.py"
    assert len(kept["trace"]) == STEPS
    assert trace(what, root) == pytest.approx(kept["trace"], rel=CLOSE), (
        "numbers changed: raise its revision"
    )


def write() -> None:
    """Write the traces that are missing or of another revision, and say which were left alone."""
    torch.set_num_threads(1)
    GOLDENS.mkdir(exist_ok=True)
    for path in set(GOLDENS.glob("*.json")) - {path_of(what) for what in names()}:
        path.unlink()
    with tempfile.TemporaryDirectory() as folder:
        root = fill(Path(folder))
        for what in names():
            try:
                revision = revision_of(what, root)
            except UserError as error:
                print(f"{what} is left out: {error}")
                continue
            kept = json.loads(path_of(what).read_text()) if path_of(what).is_file() else {}
            if kept.get("revision") == revision:
                continue
            value = {"revision": revision, "trace": trace(what, root)}
            path_of(what).write_text(json.dumps(value, indent=1) + "\n")
            print(f"wrote {path_of(what)}")


if __name__ == "__main__":
    write()
