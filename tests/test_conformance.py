"""The shipped conformance suite, on every plug-in there is."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.catalogue import KINDS, build, entries, lacking, load_class
from bench.cell import Json
from bench.conformance import check as check_plugin
from bench.conformance.checks import checks_of, sentence
from bench.conformance.subject import Check, NotInstalled, Subject, perform
from bench.dataset import Dataset
from bench.errors import UserError

PICTURES = "conformance-pictures"  # below the root folder of data sets
SENTENCES = "conformance-sentences.csv"
NEEDED: dict[str, dict[str, Json]] = {
    "data/image_folder": {"path": PICTURES, "size": 16},
    "data/ucr": {"set": "FiftyWords"},
    "data/unlabelled_folder": {"path": PICTURES, "size": 16},
    "data/text_csv": {"path": SENTENCES},
    "tasks/clusters": {"pretext": "none"},
    "pretext/mixture": {"members": ["rotation", "position"], "weights": [0.3, 1.0]},
    "tasks/pretext": {"family": ["rotation", "jigsaw"]},
    "pretext/best_of": {"candidates": ["rotation", "position"]},
}
FETCHED = ("cifar10", "cifar_fs", "fashion_mnist", "omniglot", "ucr", "clinc150")  # where fetched
MIXTURE: Json = {"name": "mixture", "members": ["rotation", "simclr"]}
MORE: list[tuple[str, str, dict[str, Json]]] = [  # parameters that change what a method does
    ("meta", "maml", {"order": 1}),
    ("meta", "anil", {"order": 1}),
    ("meta", "boil", {"order": 1}),
    ("meta", "maml", {"zero_head": True}),
    ("meta", "anil", {"zero_head": True}),
    ("meta", "reptile", {"zero_head": True}),
    ("meta", "meta_sgd", {"order": 1}),
    ("meta", "protonet", {"tune_steps": 3}),
    ("meta", "none", {"tune_steps": 3}),
    ("meta", "learn2learn_maml", {"order": 1}),
    ("pretext", "rotation", {"angles": 8}),
    ("pretext", "jigsaw", {"grid": 3}),
    ("pretext", "mixture", {"members": ["rotation", {"name": "simclr", "batch_size": 8}]}),
    ("pretext", "mixture", {"members": ["rotation", "byol"]}),
    ("pretext", "mixture", {"members": ["rotation", "simclr"], "weights": "learned", "every": 3}),
    ("pretext", "best_of", {"candidates": [MIXTURE], "draws": 3}),
    ("meta", "none", {"head": "neighbour"}),
    ("meta", "none", {"head": "logistic"}),
    ("tasks", "clusters", {"pretext": {"name": "rotation", "batch_size": 8}, "partitions": 3}),
    ("tasks", "instances", {"augment_support": True, "shots": 2}),
    ("tasks", "pretext", {"family": ["position", {"name": "rotation", "angles": 8}, "erased"]}),
    ("augment", "word_dropout", {"delete": 0.9, "hide": 0.9}),
    ("pretext", "masked_word", {"ratio": 0.95}),
]


def subjects() -> Iterator[Subject]:
    """Make every plug-in, with its defaults and with parameters that matter."""
    every = [(kind, name) for kind in KINDS for name in entries(kind)]
    plain = [(kind, name, NEEDED.get(f"{kind}/{name}", {})) for kind, name in every]
    for kind, name, params in [*plain, *MORE]:
        cls = load_class(kind, name)
        plugin = cls() if lacking(cls) else build(kind, name, params, "here")
        yield Subject(kind=kind, name=name, plugin=plugin)


def cases() -> Iterator[object]:
    """Pair every plug-in with every check of its kind."""
    for number, subject in enumerate(subjects()):
        for check in checks_of(subject):
            yield pytest.param(subject, check, id=f"{number}-{subject.title}-{check.__name__}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, glyphs: Dataset) -> Path:
    """Return a root folder of data sets with twelve classes of three pictures or sentences."""
    root = tmp_path_factory.mktemp("data")
    for number in range(36):
        folder = root / PICTURES / f"class {number // 3}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((16, 16, 3), 7 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    rows = [f"word{n % 7} of number {n},class {n // 3}" for n in range(36)]
    (root / SENTENCES).write_text("\n".join(["text,label", *rows]))
    return root


@pytest.mark.parametrize(("subject", "check"), list(cases()))
def test_every_plug_in_conforms(
    subject: Subject, check: Check, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each plug-in keeps each part of the contract of its kind."""
    monkeypatch.setenv("BENCH_DATA", str(pictures))
    if lacking(type(subject.plugin)):
        pytest.skip(f"the extra {subject.plugin.extra} is not installed: see Extras in the README")
    try:
        perform(check, subject)
    except NotInstalled as missing:
        assert subject.title.removeprefix("data/") in FETCHED
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", FETCHED)
def test_a_real_set_conforms_where_it_is(real_data: Path, name: str) -> None:
    """A real set passes every check of a data source."""
    params = NEEDED.get(f"data/{name}", {})
    subject = Subject(kind="data", name=name, plugin=build("data", name, params, "here"))
    try:
        for check in checks_of(subject):
            perform(check, subject)
    except NotInstalled as missing:
        pytest.skip(str(missing))


def test_no_plug_in_escapes() -> None:
    """Every file in the folders of plug-ins is a plug-in that is checked."""
    package = Path(check_plugin.__code__.co_filename).parents[1]
    files = {f"{kind}/{path.stem}" for kind in KINDS for path in (package / kind).glob("[!_]*.py")}
    assert files <= {subject.title for subject in subjects()}


def test_every_check_has_a_name_in_words() -> None:
    """What ``bench check`` prints for a check is one line that no other check has."""
    checks = {check for subject in subjects() for check in checks_of(subject)}
    names = {(check.__module__, sentence(check)) for check in checks}
    assert len(names) == len(checks)
    assert all(len(name) > 20 for _, name in names)


def test_an_unknown_kind_is_a_mistake() -> None:
    """A kind that does not exist is refused with the nearest one."""
    with pytest.raises(UserError, match="Did you mean pretext"):
        check_plugin("pretexts", "rotation")


def test_an_unknown_parameter_is_a_mistake() -> None:
    """A parameter that does not exist is refused before anything runs."""
    with pytest.raises(UserError, match="no parameter 'turns'"):
        check_plugin("pretext", "rotation", {"turns": 2})


def test_a_plug_in_with_a_required_parameter_asks_for_it() -> None:
    """What cannot be made without a parameter is not checked without it."""
    with pytest.raises(UserError, match="path"):
        check_plugin("data", "image_folder")


def test_a_missing_pytest_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra ``check``, one error says how to install it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"meta-ssl-bench\[check\]"):
        check_plugin("pretext", "rotation")
