"""What README and docs say works: every YAML block plans, every command parses, links lead on."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from bench.cli import _parser, main
from bench.suite import read_suite

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", block)
        for page in PAGES
        for number, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)
        )
    ]


@pytest.mark.parametrize(("name", "block"), [b for b in _blocks("yaml") if "name:" in b[1]])
def test_a_suite_in_the_docs_is_one(name: str, block: str, tmp_path: Path) -> None:
    """Every suite shown can be read."""
    (tmp_path / "suite.yaml").write_text(block)

    assert read_suite(tmp_path / "suite.yaml").combinations


@pytest.mark.parametrize(("name", "block"), _blocks("sh"))
def test_a_command_in_the_docs_parses(name: str, block: str) -> None:
    """Every bench command shown has arguments that the command line takes."""
    for line in block.splitlines():
        words = shlex.split(line)
        if line == "uv pip install -e .":
            assert name.startswith("adding_a_m")
        elif words[:1] == ["bench"]:
            end = words.index(">") if ">" in words else None
            assert _parser().parse_args(words[1:end]).call
        else:
            assert words[:3] == ["python", "-m", "pip"], f"{name}: {line}"
            assert "&& nox -s" in line


def test_suites_named_in_the_docs_exist() -> None:
    """A page names no suite file that is not there."""
    named = {m for page in PAGES for m in re.findall(r"suites/\w+\.yaml", page.read_text())}

    assert named
    assert [one for one in sorted(named) if not (ROOT / one).is_file()] == []


def test_every_published_way_is_a_row_of_its_suite() -> None:
    """The row that a way is said to have stands in the suite named beside it."""
    lines = (ROOT / "docs/published_methods.md").read_text().splitlines()
    cells = [line.strip("|").split("|") for line in lines if line.startswith("|")][2:]
    rows = {row.strip(" `"): suite.strip(" `") for *_, row, suite in cells if "every" not in suite}

    assert len(rows) >= 13
    for row, name in rows.items():
        suite = read_suite(ROOT / f"suites/{name}.yaml")
        assert row in {*(one.label for one in suite.combinations), *suite.controls}


def test_links_lead_somewhere() -> None:
    """Every relative link of a page leads to a file."""
    dead = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]

    assert dead == []


def test_the_page_on_reports_follows_their_sections() -> None:
    """Each section of a report is named by a heading of docs/reports.md, in the same order."""
    sections = re.findall(r"^## (.+)$", (ROOT / "bench/report/index.md.jinja").read_text(), re.M)
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/reports.md").read_text(), re.M)
    text = [" ".join(headings).lower().find(_last_word(one)) for one in sections]

    assert len(sections) >= 12
    assert -1 not in text
    assert text == sorted(text)


def _last_word(section: str) -> str:
    return section.partition(",")[0].split()[-1].lower()


def test_the_readme_s_accuracies_are_those_of_its_reports() -> None:
    """Each row of the README's table gives the means over seeds that its report's cells give."""
    rows = re.findall(
        r"^\| \[`\w+`\]\((reports/\S+)/index\.md\) \| (\S+) / (\S+) \|",
        (ROOT / "README.md").read_text(),
        re.M,
    )
    assert len(rows) == 3
    for folder, *own in rows:
        cells = pd.read_csv(ROOT / folder / "cells.csv")
        means = cells[cells.control.isna()].groupby("shots").accuracy.mean()
        assert [f"{100 * means[shots]:.1f}" for shots in (1, 5)] == own, folder


def test_what_the_readme_says_was_answered_stands_in_its_reports() -> None:
    """Differences and verdicts of held-out and learned pretexts are those of the reports."""
    readme = " ".join((ROOT / "README.md").read_text().split())
    name = "pairs-glyphs-4way-5shot-new-tasks-mean-of-5.csv"
    pairs = pd.read_csv(ROOT / "reports/new_pretext" / name).query("steps == 10")
    found = pairs.set_index("variant")
    points = found.filter(regex="accuracy_difference").mul(-100).round(1)
    for label, words in (
        ("maml", "MAML is {} points [{}, {}]"),
        ("reptile", "Reptile {} [{}, {}]"),
    ):
        mean, low, high = points.loc[label]  # behind is the other way about
        assert words.format(mean, high, low) in readme
        assert found.loc[label, "accuracy_verdict"] == "worse"
        assert found.loc[f"simclr + {label}", "accuracy_verdict"] == "undecided"
    assert found.loc["simclr + reptile", "loss_verdict"] == "worse"
    floor = pd.read_csv(ROOT / "reports/new_pretext" / name.replace("pairs", "accuracy"))
    assert floor.set_index("variant").loc["joint", "floor_verdict"] == "undecided"

    photographs = ROOT / "reports/new_pretext_cifar_fs-x0.01-s2-e20"
    found = pd.read_csv(photographs / name.replace("glyphs", "cifar_fs")).query("steps == 10")
    found = found.set_index("variant")
    assert found["accuracy_verdict"].to_dict() == dict.fromkeys(found.index, "undecided") | {
        "reptile": "equivalent"
    }
    assert set(found["loss_verdict"]) == {"undecided"}

    for shots, best in ((1, "undecided"), (5, "worse")):
        path = f"reports/learned_pretext/accuracy-glyphs-5way-{shots}shot.csv"
        verdicts = pd.read_csv(ROOT / path).set_index("variant")["baseline_verdict"]
        rows = ["learned (instances)", "learned (clusters)", "random search"]
        assert set(verdicts[rows]) == {"undecided"}
        assert verdicts["best single"] == best

    folder = readme.partition("[On Omniglot](")[2].partition("/index.md")[0]
    cells = pd.read_csv(ROOT / folder / "cells.csv").set_index(["variant", "shots"]).accuracy
    for label, words in (
        ("ProtoCLR", "ProtoCLR {} / {} %"),
        ("UMTRA", "UMTRA {} / {} % with transductive"),
        ("UMTRA, support statistics", "and {} / {} % without"),
        ("CACTUs-MAML", "CACTUs-MAML {} / {} %"),
        ("SimCLR", "SimCLR {} / {} %"),
        ("ProtoNet", "ProtoNet {} / {} %"),
        ("supervised_logistic", "supervised pre-training {} / {} %"),
    ):
        assert words.format(*(f"{100 * cells[label, shots]:.1f}" for shots in (1, 5))) in readme


def test_what_the_readme_says_tuning_bought_stands_in_its_reports() -> None:
    """Gains of the rows, the order before and after, and what the check of tuning found."""
    readme = " ".join((ROOT / "README.md").read_text().split())
    name = "tuning-bought-glyphs-5way-1shot.csv"
    found = pd.read_csv(ROOT / "reports/tuned_glyphs" / name).set_index("variant")
    gains = (
        found[["reference_difference", "reference_difference_low", "reference_difference_high"]]
        .mul(100)
        .round(1)
    )
    for label, words in (
        ("none + maml", "MAML {} [{}, {}]"),
        ("simclr + none", "SimCLR without a label {} [{}, {}]"),
        ("none + protonet", "ProtoNet {} [{}, {}]"),
        ("simclr + protonet", "SimCLR before ProtoNet {} [{}, {}]"),
    ):
        assert words.format(*gains.loc[label]) in readme
    order = [list(found[mean].sort_values().index) for mean in ("default", "tuned")]
    assert order[0] == order[1]
    rows = pd.read_csv(ROOT / "reports/tuned_glyphs/accuracy-glyphs-5way-1shot.csv")
    both = rows.set_index("variant").loc["simclr + protonet"].filter(like="baseline_")
    low, high = both[["baseline_difference_low", "baseline_difference_high"]].mul(100).round(1)
    default = found["default"].mul(100).round(1)
    before = default["simclr + protonet"] - default["none + protonet"]
    tuned = f"{100 * both['baseline_difference']:.1f} [{low}, {high}]"
    assert f"is worth {tuned} where both are tuned and {before:.1f} where neither is" in readme
    check = pd.read_csv(ROOT / "reports/tuned_check" / name).set_index("variant")
    assert check["kept_default"].to_dict() == {"rate too small": False, "good default": True}
    assert check.loc["rate too small", "reference_verdict"] == "better"


def test_every_plug_in_is_in_the_docs() -> None:
    """A method that a suite can name stands in the page on suites or on data."""
    from bench.catalogue import KINDS, entries

    text = "".join((ROOT / "docs" / page).read_text() for page in ("suites.md", "data.md"))
    own = [name for kind in KINDS for name, entry in entries(kind).items() if not entry.entry_point]

    assert [name for name in own if f"`{name}`" not in text] == []


def test_the_page_of_methods_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/methods.md is what ``bench list --markdown`` prints."""
    assert main(["list", "--markdown"]) == 0

    printed = capsys.readouterr().out
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert page == printed, "make it anew: bench list --markdown > docs/methods.md"
