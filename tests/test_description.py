"""What is read of a plug-in's source without importing it, and the page that is made of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.catalogue import KINDS, Entry, entries, load_class
from bench.description import FOLLOWS, Parameter, Tuned, describe
from bench.errors import UserError
from bench.listing import listing, page
from bench.space import described as described_space
from bench.space import in_words

SOURCE = '''\
from typing import Annotated, ClassVar, Literal

from bench.contract import AbstractMeta

Turned = Literal["train", "all"]


class _Helper:
    """Not the plug-in."""


class AbstractOwn(AbstractMeta):
    """What two methods share."""

    norm: ClassVar[str] = "running"
    frozen_encoder: ClassVar[bool] = True
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=1e-2, log=True),  # Adam
        # as everywhere
        "batch": OneOf(values=(4, 8)),
        "share": Reals(low=LEAST, high=0.5),  # above
        "plain": Whole(low=3, high=1),
    }


class Method(AbstractOwn):
    """Do something. And more.

    At length.
    """

    reference: ClassVar[str] = "arXiv:1234.56789"
    batch: int = 8  # images
    rate: float = 1e-3  # Adam; authors' code
    share: float = (
        0.2  # share of training; authors' code:
    )
    # every 20 of at most 100 epochs,
    # as it says
    # noqa: X100
    plain: int
    # a remark on what follows
    turned: Turned = "train"  # type: ignore[x]  # where; see issue #20
    both: Annotated[int, 3] | None = None  # noqa: E501

    @property
    def transductive(self) -> bool:
        return self.rate > 1
'''


def described(tmp_path: Path, origin: str = "package:Method", source: str = SOURCE) -> Entry:
    """An entry of a file with this source."""
    path = tmp_path / "method.py"
    path.write_text(source)
    return Entry(kind="meta", name="method", origin=origin, path=path, package="other")


def test_parameters_come_with_their_comments(tmp_path: Path) -> None:
    """A comment beside a field is its; lines that go on from it are joined, words for tools left.

    A comment above a field, and that of the next field, are not.
    """
    assert describe(described(tmp_path)).parameters == {
        "batch": Parameter(kind="int", default="8", comment="images"),
        "rate": Parameter(kind="float", default="0.001", comment="Adam; authors' code"),
        "share": Parameter(
            kind="float",
            default="0.2",
            comment="share of training; authors' code: every 20 of at most 100 epochs, as it says",
        ),
        "plain": Parameter(kind="int", default="", comment=""),
        "turned": Parameter(
            kind="Literal['train', 'all']", default="'train'", comment="where; see issue #20"
        ),
        "both": Parameter(kind="Annotated[int, 3] | None", default="None", comment=""),
    }


def test_claims_are_those_of_the_whole_lineage(tmp_path: Path) -> None:
    """Own ones, those of a class in the same file, and the contract's defaults, nearest first."""
    assert describe(described(tmp_path)).claims == {
        "norm": "running",
        "transductive": FOLLOWS,
        "frozen_encoder": "yes",
    }


def test_what_is_tuned_comes_with_its_bounds(tmp_path: Path) -> None:
    """Bounds are in words, with the comment beside them; what is no plain bound is as written."""
    found = describe(described(tmp_path))

    assert not found.tuned_follows
    assert found.tuned == {
        "rate": Tuned(within="0.0001 to 0.01, log", comment="Adam as everywhere"),
        "batch": Tuned(within="4 or 8", comment=""),
        "share": Tuned(within="Reals(low=LEAST, high=0.5)", comment="above"),
        "plain": Tuned(within="Whole(low=3, high=1)", comment=""),
    }


def test_what_is_tuned_may_follow_from_the_parameters(tmp_path: Path) -> None:
    """A property's mappings are read all the same, and it is said that not all always count."""
    own = """
    @property
    def space(self) -> Mapping[str, Space]:
        if self.batch > 8:
            return {"rate": Reals(low=1.0, high=2.0)}  # where it is large
        return {"share": Reals(low=0.1, high=0.5)} | other()
"""
    found = describe(described(tmp_path, source=SOURCE + own))

    assert found.tuned_follows
    assert found.tuned == {
        "rate": Tuned(within="1 to 2", comment="where it is large"),
        "share": Tuned(within="0.1 to 0.5", comment=""),
    }


@pytest.mark.parametrize("title", [f"{kind}/{name}" for kind in KINDS for name in entries(kind)])
def test_bounds_read_are_bounds_declared(title: str) -> None:
    """What the page says may be tuned of a shipped plug-in is what its class says."""
    kind, name = title.split("/")
    space, found = load_class(kind, name).space, describe(entries(kind)[name])

    assert found.tuned_follows == isinstance(space, property)
    if not found.tuned_follows:
        words = {key: in_words(described_space(one)) for key, one in space.items()}
        assert {key: one.within for key, one in found.tuned.items()} == words


def test_what_is_tuned_is_listed() -> None:
    """One plug-in in full has its bounds, and the page the reasons for them too."""
    lines = listing("meta/reptile").splitlines()

    assert lines[-4:-2] == ["  tuned:", "    rate: 0.1 to 1, log"]
    assert f"  tuned, and which of these {FOLLOWS}:" in listing("meta/none").splitlines()
    assert "tuned" not in listing("encoder/conv4")
    section = page("meta/reptile")
    assert "\n\nTuned:\n\n| parameter | within | reason, or source of the bounds |\n" in section
    assert "| `rate` | 0.1 to 1, log | authors: args.py 0.1, README 1 |" in section
    assert f"\n\nTuned, and which of these {FOLLOWS}:\n\n" in page("meta/none")
    assert "Tuned" not in page("encoder/conv4")


def test_text_and_reference(tmp_path: Path) -> None:
    """The docstring whole, its first line as the summary, and the source."""
    found = describe(described(tmp_path))

    assert (found.summary, found.reference) == ("Do something. And more.", "arXiv:1234.56789")
    assert found.text.endswith("At length.")


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ("package:Other", SOURCE),
        ("package:Method", "class Method(:"),
        ("package:Method", "class Method:\n    x = '''"),
        ("package:Method", "x = 1\0"),
        ("package", "class _Private: pass"),
    ],
)
def test_a_source_that_cannot_be_read_is_said(tmp_path: Path, origin: str, source: str) -> None:
    """Where the file is broken or lacks the class, the listing says so and goes on."""
    assert describe(described(tmp_path, origin, source)).summary == "(its source cannot be read)"


@pytest.mark.parametrize(
    "title", [f"{kind}/{name}" for kind in ("meta", "pretext", "tasks") for name in entries(kind)]
)
def test_claims_read_are_claims_made(title: str) -> None:
    """What the page says a shipped plug-in claims is what its class says when it is imported."""
    kind, name = title.split("/")
    cls = load_class(kind, name)

    claims = describe(entries(kind)[name]).claims

    assert claims
    words = {True: "yes", False: "no"}
    for claim, said in claims.items():
        value = getattr(cls, claim)
        plain = words[value] if isinstance(value, bool) else str(value)  # 1 views are no yes
        assert said == (FOLLOWS if isinstance(value, property) else plain)


def test_the_page_holds_every_plug_in_and_its_numbers() -> None:
    """One section a plug-in: sentence, source, claims, parameters, published numbers."""
    section = page("meta/protonet")

    assert section.startswith("### meta/protonet\n\nLearn features in which a class is a ball")
    assert "Source: [arXiv:1703.05175](https://arxiv.org/abs/1703.05175)." in section
    assert "Claims: `norm` running, `transductive` no, `frozen_encoder` " in section
    assert "| `rate` | `PositiveFloat` | `0.001` | Adam; authors' code |" in section
    assert "5-way 1-shot 98.8; 5-way 5-shot 99.7 |" in section
    titles = {line[4:] for line in page(None).splitlines() if line.startswith("### ")}
    assert {f"pretext/{name}" for name in entries("pretext")} <= titles
    assert page("pretext") in page(None)


def test_what_makes_a_published_method_has_its_numbers() -> None:
    """A number stands with its tasks, pretext or start where these are special, else its meta."""
    assert "UMTRA" in page("tasks/instances")
    assert "UMTRA" not in page("meta/maml")
    assert "linear head" in page("init/supervised")


@pytest.mark.parametrize("what", ["metta", "meta/mamml", "metta/maml"])
def test_a_page_of_what_is_not_there(what: str) -> None:
    """An unknown kind or plug-in is one error with the nearest names."""
    with pytest.raises(UserError, match="Did you mean"):
        page(what)


def test_the_page_imports_no_torch() -> None:
    """It is made from sources: in an instant, where torch cannot be imported."""
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'numpy', 'pydantic'): sys.modules[name] = None\n"
        "from bench.cli import main\n"
        "sys.exit(main(['list', '--markdown']))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout == page(None) + "\n"
