"""From a name to a plug-in: what is found, what is refused, and what is not imported."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from bench import catalogue
from bench.catalogue import build, card, entries, load_class, rebuild, resolved
from bench.cell import Json
from bench.errors import UserError
from bench.listing import listing

PLUGIN = """
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from bench.contract import AbstractEncoder

@dataclass(frozen=True, kw_only=True)
class Tiny(AbstractEncoder):
    "A third party's encoder."
    reference: ClassVar[str] = "arXiv:0000.00000"
    width: int = 3
    def module(self, shape):
        return nn.Flatten()
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a package of one module and its entry points."""
    modules = []

    def forget() -> None:
        entries.cache_clear()
        load_class.cache_clear()

    def add(code: str, points: str, module: str = "elsewhere", name: str = "elsewhere") -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(points))
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        modules.append(module)
        forget()

    monkeypatch.syspath_prepend(tmp_path)
    yield add
    for module in modules:
        sys.modules.pop(module, None)
    forget()


def refusal(kind: str, name: str, params: Mapping[str, Json]) -> str:
    """Return the message with which a plug-in is refused."""
    with pytest.raises(UserError) as caught:
        build(kind, name, params, "suite.yaml:3: meta")
    return str(caught.value)


LEARNED: dict[str, Json] = {"members": ["rotation", "simclr"], "weights": "learned"}
SEARCH: dict[str, Json] = {"candidates": ["rotation", "simclr"]}
REFUSED = [
    ("meta", "mamml", {}, "no meta is named 'mamml'. Did you mean maml or imaml?"),
    (
        "tasks",
        "xyz",
        {},
        "no tasks is named 'xyz'. Known: clusters, environments, instances, labels, masked_words,"
        " pretext.",
    ),
    ("pretext", "mixture", {"members": ["rotation"]}, "Tuple should have at least 2 items"),
    (
        "pretext",
        "mixture",
        {"members": ["rotation", "rotaton"]},
        "no pretext is named 'rotaton'. Did you mean rotation?",
    ),
    (
        "pretext",
        "mixture",
        {"members": ["rotation", {"name": "simclr", "temprature": 0.2}]},
        "pretext/simclr has no parameter 'temprature'. Did you mean temperature?",
    ),
    ("pretext", "mixture", {"members": ["rotation", 3]}, "3 is no pretext"),
    (
        "pretext",
        "mixture",
        {"members": ["rotation", "simclr"], "weights": [1.0]},
        "1 weights for 2 members",
    ),
    (
        "pretext",
        "mixture",
        {"members": ["rotation", LEARNED | {"name": "mixture"}]},
        "cannot be a member of another",
    ),
    (
        "pretext",
        "mixture",
        {"members": ["rotation", SEARCH | {"name": "best_of"}]},
        "a search has no loss of its own",
    ),
    ("pretext", "mixture", LEARNED | {"outer_shots": 2}, "outer: instances has one shot"),
    ("pretext", "best_of", {"candidates": ["rotation"]}, "one candidate: give another, or draws"),
    (
        "pretext",
        "best_of",
        {"candidates": ["rotation", LEARNED | {"name": "mixture"}]},
        "cannot be a candidate",
    ),
    ("pretext", "best_of", {"candidates": ["rotation"] * 2}, "two candidates are the same"),
    ("pretext", "best_of", SEARCH | {"draws": 2}, "leaves nothing to draw"),
    ("pretext", "best_of", SEARCH | {"outer_shots": 2}, "outer: instances has one shot"),
    ("meta", "../meta/maml", {}, "no meta is named '../meta/maml'."),
    ("meta", "__init__", {}, "no meta is named '__init__'."),
    ("pretext", "Rotation", {}, "no pretext is named 'Rotation'. Did you mean rotation or"),
    ("meta", "maml", {"ordr": 1}, "meta/maml has no parameter 'ordr'. Did you mean order?"),
    ("meta", "maml", {"zzz": 1}, "meta/maml has no parameter 'zzz'. Known: inner_rate, order, "),
    ("meta", "maml", {"order": 3}, "order: 3. Input should be 1 or 2."),
    ("meta", "maml", {"order": "1"}, "order: '1'. Input should be 1 or 2."),
    ("meta", "maml", {"steps": 2.0}, "steps: 2.0. Input should be a valid integer."),
    ("meta", "maml", {"steps": True}, "steps: True. Input should be a valid integer."),
    ("meta", "maml", {"steps": 0}, "steps: 0. Input should be greater than 0."),
    ("meta", "maml", {"steps": None}, "steps: None. Input should be a valid integer."),
    (
        "pretext",
        "mixture",
        {"members": ["rotation", "simclr"], "weights": "even"},
        "weights: 'even'. Input should be a valid array; or Input should be 'uniform' or 'learned'",
    ),
    ("meta", "maml", {"rate": "fast"}, "rate: 'fast'. Input should be a valid number."),
    ("meta", "maml", {"rate": -1}, "rate: -1. Input should be greater than 0."),
    ("meta", "maml", {"rate": [1]}, "rate: [1]. Input should be a valid number."),
    ("meta", "maml", {"reference": "x"}, "meta/maml has no parameter 'reference'."),
    ("meta", "maml", {"revision": 2}, "meta/maml has no parameter 'revision'."),
    ("meta", "none", {"head": "svm"}, "head: 'svm'. Input should be 'prototypes', 'neighbour'"),
    ("encoder", "conv4", {"width": {"a": 1}}, "width: {'a': 1}. Input should be a valid integer."),
    ("tasks", "labels", {"shots": "mach"}, "'mach'."),
    (
        "pretext",
        "jigsaw",
        {"permutations": 99},
        "meta: pretext/jigsaw: {'permutations': 99}. 99 per",
    ),
    ("data", "image_folder", {}, "data/image_folder needs the parameter 'path'. Give path."),
]


@pytest.mark.parametrize(("kind", "name", "params", "says"), REFUSED)
def test_refused(kind: str, name: str, params: dict[str, Json], says: str) -> None:
    """An unknown name, and a misspelt, mistyped or impossible parameter, are one clear error."""
    message = refusal(kind, name, params)
    assert message.startswith("suite.yaml:3: meta: ")
    assert says in message
    assert "\n" not in message


def test_what_is_resolved_is_complete() -> None:
    """A plug-in is described with every parameter, defaults included, and made of it again.

    A parameter that was added later, at the value of before, alone is left out.
    """
    plugin = build("meta", "maml", {"order": 1}, "here")
    described = resolved("meta", "maml", plugin)
    assert described["name"] == "maml"
    assert described["revision"] == plugin.revision
    assert described["params"]["order"] == 1
    every = {field.name for field in fields(plugin)}  # type: ignore[arg-type]
    assert set(described["params"]) == every - {"zero_head"}
    assert rebuild("meta", json.loads(json.dumps(described))) == plugin


def test_a_whole_number_is_a_number() -> None:
    """1 and 1.0 are one value where a float is asked for."""
    one, same = (build("meta", "maml", {"rate": value}, "here") for value in (1, 1.0))
    assert json.dumps(resolved("meta", "maml", one)) == json.dumps(resolved("meta", "maml", same))


NEEDED: dict[str, dict[str, Json]] = {
    "image_folder": {"path": "somewhere"},
    "ucr": {"set": "FiftyWords"},
    "text_csv": {"path": "somewhere.csv"},
    "unlabelled_folder": {"path": "somewhere"},
    "mixture": {"members": ["rotation", "simclr"]},
    "pretext": {"family": ["rotation", "jigsaw"]},
    "best_of": {"candidates": ["rotation", "simclr"]},
    "clusters": {"pretext": "none"},
}


def test_a_plug_in_that_holds_others_is_described_with_them() -> None:
    """Members stand in the key with revision and every parameter, and are built from it again."""
    mixture = build("pretext", "mixture", NEEDED["mixture"], "here")
    described = resolved("pretext", "mixture", mixture)
    members = described["params"]["members"]
    assert [one["name"] for one in members] == ["rotation", "simclr"]
    assert members[0] == resolved("pretext", "rotation", build("pretext", "rotation", {}, "here"))
    assert rebuild("pretext", described) == mixture


def test_every_file_is_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file of a plug-in folder gives one class, which its defaults can build."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # every extra is there
    for kind in catalogue.KINDS:
        for name in entries(kind):
            plugin = build(kind, name, NEEDED.get(name, {}), f"{kind}/{name}")
            assert card(kind, name, plugin)["summary"].endswith(".")


def test_an_installed_package_adds_a_plugin(install: Install) -> None:
    """An entry point of any installed package is found, described and built by its name."""
    install(PLUGIN, "[bench.encoder]\ntiny = elsewhere:Tiny\n")
    entry = entries("encoder")["tiny"]
    assert (entry.package, entry.origin) == ("elsewhere", "elsewhere:Tiny")
    assert "elsewhere" not in sys.modules
    line = next(line for line in listing("encoder").splitlines() if "tiny" in line)
    assert " ".join(line.split()) == "encoder/tiny A third party's encoder. [elsewhere]"
    assert "width: int = 3" in listing("encoder/tiny")
    assert "elsewhere" not in sys.modules
    plugin = build("encoder", "tiny", {"width": 5}, "here")
    assert resolved("encoder", "tiny", plugin)["params"] == {"width": 5}


def test_a_missing_extra_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs an extra that is not there is refused, with the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal("meta", "learn2learn_maml", {}) == (
        "suite.yaml:3: meta: meta/learn2learn_maml needs learn2learn, which is not installed. Run"
        " uv pip install -e '.[learn2learn]' in the checkout, or see Extras in the README."
    )


def test_a_missing_extra_of_a_package(install: Install) -> None:
    """A third party's plug-in names an extra of its own package."""
    lacking = '    extra: ClassVar[str] = "nowhere_to_be_found"\n'
    install(PLUGIN + lacking, "[bench.encoder]\ntiny = elsewhere:Tiny\n")
    with pytest.raises(UserError, match="needs nowhere_to_be_found") as caught:
        build("encoder", "tiny", {}, "here")
    assert str(caught.value).endswith("Run uv pip install 'elsewhere[nowhere_to_be_found]'.")


@pytest.mark.parametrize("names", [("conv4", "other"), ("tiny", "tiny")])
def test_two_packages_of_one_name(install: Install, names: tuple[str, str]) -> None:
    """A name that two packages give is refused, whether one of them is bench or not."""
    install(PLUGIN, f"[bench.encoder]\n{names[0]} = elsewhere:Tiny\n")
    install(PLUGIN, f"[bench.encoder]\n{names[1]} = further:Tiny\n", "further", "further")
    with pytest.raises(UserError, match="two packages give this name") as caught:
        entries("encoder")
    assert "elsewhere:Tiny" in str(caught.value)


HEAD = """
from dataclasses import dataclass
from typing import ClassVar
from bench.contract import AbstractEncoder, AbstractPretext
"""
FAULTY = {
    "an error while it is imported": ("1 / 0", "it cannot be imported: ZeroDivisionError"),
    "a missing package": ("import nowhere_to_be_found", "it cannot be imported: ModuleNotFound"),
    "no such class": ("", "it cannot be imported: AttributeError"),
    "not a class": ("Tiny = 5", "5 is not a AbstractEncoder. Derive from AbstractEncoder."),
    "another kind": ("class Tiny: pass", "is not a AbstractEncoder"),
    "abstract": (
        f"{HEAD}\n@dataclass(frozen=True)\nclass Tiny(AbstractEncoder):\n    pass",
        "Tiny does not define module. Define it.",
    ),
    "not a dataclass": (
        f"{HEAD}\nclass Tiny(AbstractEncoder):\n    def module(self, shape): ...",
        "Tiny is not a frozen dataclass. Decorate it with @dataclass(frozen=True, kw_only=True).",
    ),
    "not frozen": (
        f"{HEAD}\n@dataclass\nclass Tiny(AbstractEncoder):\n    def module(self, shape): ...",
        "Tiny is not a frozen dataclass.",
    ),
    "no reference": (
        f"{HEAD}\n@dataclass(frozen=True)\nclass Tiny(AbstractEncoder):\n"
        "    def module(self, shape): ...",
        "Tiny has no reference. Declare it: see AbstractEncoder in bench/contract.",
    ),
    "not Python": ("def (:", "it cannot be imported: SyntaxError"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_plugin_is_a_clear_error(install: Install, fault: str) -> None:
    """Whatever is wrong with a third party's class, a suite that names it gets one error."""
    code, says = FAULTY[fault]
    install(code, "[bench.encoder]\ntiny = elsewhere:Tiny\n")
    with pytest.raises(UserError) as caught:
        build("encoder", "tiny", {}, "suite.yaml:3: encoder")
    assert says in str(caught.value)
    assert str(caught.value).startswith("encoder/tiny (elsewhere:Tiny): ")


@pytest.mark.parametrize("code", ["def (:", "\0", "x = 1"])
def test_a_faulty_file_does_not_stop_the_list(install: Install, code: str) -> None:
    """A third party's file that cannot be read is listed as such, beside all the others."""
    install(code, "[bench.encoder]\ntiny = elsewhere:Tiny\n")
    assert "(its source cannot be read) [elsewhere]" in listing("encoder")
    assert "encoder/conv4" in listing("encoder")


def test_a_package_that_is_gone_does_not_stop_the_list(install: Install) -> None:
    """An entry point whose module is not there is listed, and an error when it is built."""
    install("", "[bench.encoder]\ntiny = nowhere.at_all:Tiny\n")
    assert "(its source cannot be read) [elsewhere]" in listing("encoder")
    with pytest.raises(UserError, match="it cannot be imported: ModuleNotFoundError"):
        build("encoder", "tiny", {}, "here")


def test_one_public_class_a_file() -> None:
    """A file with two public classes, or none, is refused and told what it holds."""

    class First:
        pass

    class Second:
        pass

    module = type(sys)("two")
    for cls in (First, Second):
        cls.__module__ = "two"
        setattr(module, cls.__name__, cls)
    with pytest.raises(UserError, match=r"public classes: First, Second\. Define exactly one"):
        catalogue._only_class(module, "meta/two")
    with pytest.raises(UserError, match="public classes: none"):
        catalogue._only_class(type(sys)("empty"), "meta/empty")


def test_listing_a_kind_or_one_plugin() -> None:
    """`bench list` names every plug-in; a kind narrows it; one plug-in is shown in full."""
    assert len(listing(None).splitlines()) == sum(len(entries(kind)) for kind in catalogue.KINDS)
    assert [line.split()[0] for line in listing("meta").splitlines()] == [
        f"meta/{name}" for name in entries("meta")
    ]
    full = listing("meta/maml")
    assert "source: arXiv:1703.03400" in full
    assert "order: Literal[1, 2] = 2" in full


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("metta", "'metta': no such kind. Did you mean meta?"),
        ("meta/mamml", "meta/mamml: no meta is named 'mamml'. Did you mean maml or imaml?"),
        ("metta/maml", "'metta/maml': not KIND/NAME. Did you mean meta?"),
        ("meta/", "no meta is named ''."),
        ("meta/maml/x", "no meta is named 'maml/x'."),
    ],
)
def test_listing_what_is_not_there(what: str, says: str) -> None:
    """An unknown kind or plug-in is one error with the nearest names."""
    with pytest.raises(UserError) as caught:
        listing(what)
    assert says in str(caught.value)


def test_listing_imports_no_torch() -> None:
    """The list is read from sources: it works where torch cannot be imported."""
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'numpy', 'pydantic'): sys.modules[name] = None\n"
        "from bench.listing import listing\n"
        "print(listing(None)); print(listing('meta/maml'))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == f"{listing(None)}\n{listing('meta/maml')}\n"
    assert shown.stderr == ""
