"""The report's other forms: LaTeX, BibTeX, JSON, and the sentences for a paper."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import auxiliary
from bench.catalogue import KINDS, entries
from bench.cell import Json
from bench.description import describe
from bench.plan import Plan
from bench.published import published
from bench.report import words
from bench.report.analysis import analyse
from bench.report.comparison import blocks
from bench.report.forms import forms
from bench.report.gallery import Gallery
from bench.report.machine import Edition
from bench.report.paper import bibliography
from bench.report.paper.bibliography import STATISTICS, Citation, bibtex, cited, folded, parse
from bench.report.paper.compute import compute_table, spent
from bench.report.paper.latex import escape, latex
from bench.report.results import Results, read_results
from bench.report.tables import Table
from bench.report.text import write_text
from bench.report.write import write_report
from bench.store import Store

Make = Callable[..., Any]
ODD = r"a_b & c% #1 $x {y} ~z ^w \cmd <b> |p| [q] -1"
BROKEN = frozenset({("simclr + maml", 5, 1)})
EDITION = Edition(revision=6, content_hash="f" * 64)
OWN = parse(bibliography.FILE.read_text(encoding="utf-8"))


def made(results: Results) -> dict[str, str]:
    """The forms of a report without figures, as texts."""
    found = analyse(results)
    report = write_text(found, Gallery(), EDITION.content_hash)
    files = forms(found, report, EDITION, {})
    return {name: content.decode() for name, content in files.items()}


def read(plan: Plan, store: Store) -> dict[str, str]:
    """As ``made``, of a plan and a store."""
    return made(read_results(plan, store))


def as_json(plan: Plan, store: Store) -> dict[str, Any]:
    """Return report.json, which may hold no NaN."""
    text = read(plan, store)["report.json"]
    value: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return value


def cells(line: str) -> list[str]:
    """Split a line of a tabular where LaTeX would; fails at a bare special character."""
    assert re.search(r"(?<!\\)[#%~^_|<>\"`]", line) is None, line
    assert line.endswith(r" \\")
    return re.split(r"(?<!\\)&", line.removesuffix(r"\\"))


def depth(text: str) -> int:
    """How many braces stay open; fails where one closes that was not opened."""
    open_ = 0
    for mark in re.findall(r"(?<!\\)[{}]", text):
        open_ += 1 if mark == "{" else -1
        assert open_ >= 0, text
    return open_


def tabular(text: str) -> Iterator[list[str]]:
    """Yield the rows of a tabular, its head first; fails where LaTeX would not read it."""
    origin, needs, begin, *lines = text.splitlines()
    assert origin.startswith("% ")
    assert needs == r"% It needs \usepackage{booktabs}."
    found = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", begin)
    assert found is not None
    assert [lines[0], lines[2], *lines[-2:]] == [
        *(r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"),
    ]
    for line in (lines[1], *lines[3:-2]):
        row = cells(line)
        assert len(row) == len(found[1])
        assert not line.startswith(("[", "*"))
        assert [depth(one) for one in row] == [0] * len(row)
        assert all(len(re.findall(r"(?<!\\)\$", one)) % 2 == 0 for one in row)
        yield row


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("64.0 [59.7, 68.3]", "64.0 [59.7, 68.3]"),
        ("-0.5 [-1.5, +0.5]", "$-$0.5 [$-$1.5, +0.5]"),
        ("98.27 +- 0.13", r"98.27 $\pm$ 0.13"),
        ("too wide (+- 1.3 points)", r"too wide ($\pm$ 1.3 points)"),
        ("+- is unstated", "+- is unstated"),
        ("-", "--"),
        ("", ""),
        ("5-way 1-shot, 0-4, simclr-2", "5-way 1-shot, 0-4, simclr-2"),
        ("a_b & c%", r"a\_b \& c\%"),
        ("two\nlines", "two lines"),
        ("\\x{~^|<>`\"", r"\textbackslash{}x\{\textasciitilde{}\textasciicircum{}\textbar{}"
         r"\textless{}\textgreater{}\textasciigrave{}\textquotedbl{}"),
    ],
)  # fmt: skip
def test_a_text_is_escaped_for_latex(text: str, shown: str) -> None:
    """Special characters are shown, numbers get signs of mathematics, and words keep hyphens."""
    assert escape(text) == shown


def test_no_cell_becomes_an_argument() -> None:
    r"""A row that begins with a bracket or a star is no argument of the \\ before it."""
    rows = [["[5, 6]", "x"], ["*", "y"], ["z", "[1, 2]"]]
    table = Table(name="odd", header=["[a]", "b"], rows=rows, frame=pd.DataFrame(), right=(1,))

    head, *found = tabular(latex(table, "the report a\nb"))

    assert head[0].strip() == "{}[a]"
    assert [row[0].strip() for row in found] == ["{}[5, 6]", "{}*", "z"]
    assert r"\begin{tabular}{lr}" in latex(table, "")


def test_every_table_is_there_for_latex(synthetic: Make) -> None:
    """Each has its rows and columns whatever a label holds, and says where it is from."""
    floor, protonet, *_ = synthetic().methods
    plan, store = synthetic(methods=(floor, replace(protonet, label=ODD))).build()
    plan = replace(plan, settings=plan.settings | {"baseline": {"train": ODD}})
    results = read_results(plan, store)
    report = write_text(analyse(results), Gallery(), EDITION.content_hash)

    files = made(results)

    assert {n for n in files if n.endswith(".tex")} == {f"{t.name}.tex" for t in report.tables}
    for table in report.tables:
        text = files[f"{table.name}.tex"]
        assert f"the report synthetic, content hash {'f' * 64}" in text.splitlines()[0]
        assert len(list(tabular(text))) == 1 + len(table.rows)
    assert r"a\_b \& c\% \#1 \$x \{y\}" in files["accuracy-glyphs-5way-1shot.tex"]


def test_every_source_has_an_entry_and_every_entry_is_a_source() -> None:
    """Plug-ins, published numbers and statistics name all of the bibliography and nothing else."""
    named = [
        describe(entry).reference
        for kind in KINDS
        for entry in entries(kind).values()
        if entry.entry_point is None
    ]
    named += [one.identifier for one in published() if one.identifier]
    named += [auxiliary.REFERENCE, *(one.reference for one in STATISTICS)]
    wanted = {folded(one) for text in named for one in bibliography.references(text)}

    assert wanted == {entry.identifier for entry in OWN}


def test_entries_are_whole() -> None:
    """None is lost in reading, keys and identifiers are unique, and each says who, what, when."""
    text = bibliography.FILE.read_text(encoding="utf-8")

    assert len(OWN) == text.count("\n@")
    assert len({entry.key for entry in OWN}) == len(OWN)
    assert len({entry.identifier for entry in OWN}) == len(OWN)
    for entry in OWN:
        assert {"author", "title", "year", "url"} <= entry.fields.keys(), entry.key
        assert entry.text.count("\n") == len(entry.fields) + 1, entry.key
        assert depth(entry.text) == 0
        assert entry.fields["year"] in entry.key
        assert not re.search(r"[\\{}]", entry.short), entry.short


def test_one_line_cites_a_source() -> None:
    """Authors, year and title stand beside the link and what uses it."""
    (one,) = _named(cited(_cards("arXiv:1703.03400"), [], []))

    assert one.markdown == (
        "Finn et al. 2017, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, "
        "[arXiv:1703.03400](https://arxiv.org/abs/1703.03400): meta/own"
    )


def test_a_report_cites_exactly_what_it_uses(synthetic: Make) -> None:
    """Its file holds the plan's methods and the statistics, and reads as BibTeX again."""
    found = parse(read(*synthetic().build())["references.bib"])

    assert [entry.key for entry in found] == [
        *("bouthillier2021accounting", "finn2017maml", "holm1979simple"),
        *("lafargue2024oops", "schuirmann1987comparison", "snell2017prototypical"),
    ]
    assert found[1].text == bibliography.entries()["arxiv:1703.03400"].text


@pytest.mark.parametrize(
    ("reference", "fields"),
    [
        ("arXiv:2003.04390", {"eprint": "2003.04390", "archiveprefix": "arXiv"}),
        ("doi:10.1000/x_y", {"doi": "10.1000/x_y", "url": "https://doi.org/10.1000/x_y"}),
        ("https://example.org/a_b", {"url": "https://example.org/a_b"}),
        ("Own & Other 2026", {"title": r"Own \& Other 2026"}),
    ],
)
def test_a_source_without_an_entry_gets_a_minimal_one(
    reference: str, fields: dict[str, str]
) -> None:
    """What a third party's plug-in names is cited by its identifier, and says who named it."""
    (one,) = _named(cited(_cards(reference), [], []))

    (entry,) = parse(bibtex([one], "a report by me@home"))

    assert fields.items() <= entry.fields.items()
    assert "meta/own" in entry.fields["note"]
    assert entry.text.startswith("@misc{unlisted-")
    assert not one.known
    assert one.markdown.endswith(": meta/own")


def test_a_reference_may_name_several_sources() -> None:
    """Each identifier is a source of its own, whatever its version or case."""
    found = _named(cited(_cards("ARXIV:1703.03400v3, doi:10.1126/SCIENCE.aab3050"), [], []))

    assert [one.entry.key for one in found] == ["finn2017maml", "lake2015human"]


def test_statistics_are_cited_where_they_are_shown() -> None:
    """What needs many data sets is cited only by a report with such a figure or table."""
    usual = {one.entry.key for one in cited({}, [], ["cost-a"])}
    more = {one.entry.key for one in cited({}, [], ["cost-a", "profiles", "expected-best-a"])}

    assert more - usual == {"agarwal2021precipice", "dodge2019show", "tang2020showing"}


def test_programs_read_what_the_tables_show(synthetic: Make) -> None:
    """Each row's interval, comparisons and seeds stand in report.json in full."""
    plan, store = synthetic().build()
    results = read_results(plan, store)

    found = as_json(plan, store)

    assert (found["form"], found["name"], found["complete"]) == (1, "synthetic", True)
    assert (found["content_hash"], found["revision"]) == ("f" * 64, 6)
    assert {one["outcome"] for one in found["audit"]} <= {"passed", "advice"}
    assert [one["title"] for one in found["blocks"]] == [b.title for b in blocks(results)]
    for block, own in zip(blocks(results), found["blocks"], strict=True):
        for row, one in zip(block.rows, own["rows"], strict=True):
            assert row.accuracy is not None
            assert one["variant"] == row.group.variant
            assert one["accuracy"]["low"] == row.accuracy.low
            assert one["seeds_done"] == one["seeds_planned"] == len(one["seeds"]) == 3
            assert {each["episodes"] for each in one["seeds"]} == {40}
            mean = sum(each["accuracy"] for each in one["seeds"]) / 3
            assert mean == pytest.approx(row.accuracy.mean)
            if row.baseline and row.baseline.difference:
                assert one["baseline"]["p"] == row.baseline.difference.p
                assert one["baseline"]["p_holm"] == row.baseline.p_holm
                assert one["baseline"]["verdict"] == row.baseline.verdict
    verdicts = {(v["setting"], v["variant"]): v["verdict"] for v in found["answer"]["verdicts"]}
    assert verdicts["glyphs, 5-way 5-shot", "simclr + maml"] == "better"
    assert "**" not in json.dumps(found["answer"])


def test_an_unfinished_suite_has_nulls_and_reasons(synthetic: Make) -> None:
    """A program learns that the report is incomplete, why, and which cells are missing."""
    plan, store = synthetic(broken=BROKEN, missing=frozenset({"simclr + none"})).build()

    found = as_json(plan, store)

    rows = {one["variant"]: one for one in found["blocks"][1]["rows"]}
    assert not found["complete"]
    assert found["banners"][0].startswith("Incomplete: of 24 cells 1 failed and 6 are missing")
    assert found["cells"] == {"planned": 24, "done": 17}
    assert len(found["unfinished"]) == 7
    assert rows["simclr + maml"]["accuracy"] is None
    assert rows["simclr + maml"]["trouble"] == "incomplete (2 of 3 seeds)"
    assert rows["simclr + maml"]["cost"]["seconds"] is None
    assert [one["status"] for one in rows["simclr + maml"]["seeds"]] == ["done", "failed", "done"]
    assert rows["simclr + maml"]["seeds"][1]["reason"] == "evaluate: NaN in the loss"


def test_held_out_tasks_are_there_for_programs(held: Make) -> None:
    """Tables that only some reports have stand there by their names."""
    found = as_json(*held().build())

    assert {name.partition("-")[0] for name in found["tables"]} == {
        *("loss", "pairs", "all", "wins", "outlook")
    }
    assert found["blocks"][0]["is_mean"]
    assert found["blocks"][0]["rows"][0]["seeds"][0]["accuracy"] > 0
    assert found["settings"]["rates"] == [0.1, 0.3]


def test_equal_results_give_equal_forms(synthetic: Make) -> None:
    """Two readers get the same bytes: keys have one order, and no clock is read."""
    plan, store = synthetic().build()

    assert read(plan, store) == read(plan, store)


def test_the_method_says_what_was_done(synthetic: Make) -> None:
    """Protocol, what a seed changes, selection, compute and versions, without markup."""
    plan, store = synthetic().build()
    classes = {"glyphs": {"train": 78, "val": 30, "test": 40}}
    plan = replace(plan, settings=plan.settings | {"classes": classes})

    text = " ".join(read(plan, store)["method.txt"].split())

    for part in (
        "glyphs (78 train, 30 val and 40 test classes, sha256 dddddddddddd)",
        "trained with 3 seeds (0-2) and tested on 40 episodes (5-way 1-shot and 5-way 5-shot; 15",
        "5 steps of adaptation for simclr + maml",
        "the statistics of the support set for simclr + maml; the running statistics of training",
        "Inference is to new seeds and new episodes of these test classes, not to new classes.",
        "conv4 (112,000 parameters)",
        "(initial weights, the order of training examples and the sampling of training tasks)",
        "share it, seed by seed.",
        "SE^2 = max(V_s + V_e - V_r, V_s)",
        "No hyper-parameter was tuned by the harness:",
        "meta-ssl-bench 0.1.0, Python 3.11.7, PyTorch 2.15.0, NumPy 2.4.6 on x86_64 avx2 (cpu).",
    ):
        assert part in text
    assert "Stages mix" not in text
    assert "incomplete" not in text


def test_the_method_names_budgets_and_what_is_not_done(synthetic: Make) -> None:
    """Budgets stand there with their scale, and a half-finished suite says so at once."""
    floor, protonet, maml, simclr = synthetic().methods
    budgets = {"pretrain.budget": "60000 examples", "metatrain.budget": "250 steps"}
    methods = (floor, replace(protonet, params={"metatrain.budget": "1000 steps"}),
               replace(maml, params=budgets), simclr)  # fmt: skip
    settings = {"budget_scale": 0.03}
    plan, store = synthetic(methods=methods, broken=BROKEN, settings=settings).build()

    text = " ".join(read(plan, store)["method.txt"].split())

    assert text.startswith("Protocol Results are incomplete: 23 of 24 planned runs are done.")
    budget = "meta-training 1000 steps or 250 steps and pre-training 60,000 examples"
    assert f"Training budgets of the suite: {budget}, all scaled by 0.03." in text
    assert "1 of 33 stages are not finished" in text


def test_one_seed_is_said_to_be_one(synthetic: Make) -> None:
    """With one seed the method says that intervals are over episodes of one model."""
    text = " ".join(read(*synthetic(seeds=1).build())["method.txt"].split())

    assert "trained with 1 seed (0)" in text
    assert "With one seed intervals are over episodes of one model." in text


def test_seconds_are_those_of_each_stage_once(synthetic: Make) -> None:
    """Shared training counts once in the whole, and in each run that builds on it."""
    results = read_results(*synthetic().build())

    table = compute_table(results)
    text = " ".join(made(results)["method.txt"].split())

    # per seed: one simclr, two meta-trainings at 30 s; eight tests, maml's with four read-outs
    assert [(one.kind, len(one.seconds), one.total) for one in spent(results)] == [
        *(("pretrain", 3, 90.0), ("metatrain", 6, 180.0), ("evaluate", 24, 210.0)),
    ]
    assert table is not None
    assert table.frame.seconds_together.tolist() == [90.0, 180.0, 210.0, 480.0]
    assert "A run took 35 s (median of 24, from 5 s to 80 s) on x86_64 avx2 (cpu)." in text
    assert "took 0.13 h: 0.075 h of training (9 stages) and 0.058 h of testing" in text


def test_mixed_machines_are_told_apart(synthetic: Make) -> None:
    """Seconds stand by hardware, and the method says that stages mix it."""
    results = read_results(*synthetic().build())
    other: dict[str, Json] = {"hardware": "H100", "device": "cuda", "torch": "2.14.1"}
    moved: dict[str, Mapping[str, Json]] = dict(results.manifests)
    for key, one in results.manifests.items():
        if one["kind"] == "pretrain":
            moved[key] = {**one, "provenance": one["provenance"] | other}
    cells_ = tuple(
        replace(one, trained={role: moved[one.cell.stages[role]] for role in one.trained})
        for one in results.cells
    )

    mixed = replace(results, manifests=moved, cells=cells_)
    text = " ".join(made(mixed)["method.txt"].split())

    assert "on H100 (cuda) + x86_64 avx2 (cpu). Seconds on different hardware" in text
    assert "Stages mix PyTorch and hardware." in text
    assert [(one.kind, one.hardware) for one in spent(mixed)][:2] == [
        *(("pretrain", "H100 (cuda)"), ("metatrain", "x86_64 avx2 (cpu)")),
    ]


def test_before_anything_has_run_every_form_can_be_written(synthetic: Make, tmp_path: Path) -> None:
    """A plan with an empty store has a method without seconds, and tables that LaTeX can read."""
    plan, _ = synthetic().build()
    store = Store(tmp_path / "empty")
    store.prepare()

    files = read(plan, store)

    assert files["method.txt"].count("No stage is finished yet.") == 2
    assert "compute.tex" not in files
    for name in files:
        if name.endswith(".tex"):
            assert list(tabular(files[name]))
    assert as_json(plan, store)["cells"] == {"planned": 24, "done": 0}


def test_the_index_links_to_every_form(synthetic: Make, tmp_path: Path) -> None:
    """All files of the folder are linked to, no link is broken, and report.json lists them."""
    plan, store = synthetic().build()

    folder = write_report(plan, store, tmp_path).parent

    files = {path.name for path in folder.iterdir()}
    links = set(re.findall(r"\]\(([^):#]+)\)", (folder / "index.md").read_text()))

    assert links == files - {"index.md"}
    assert set(json.loads((folder / "report.json").read_text())["files"]) == files


def test_the_forms_need_no_torch(synthetic: Make, tmp_path: Path) -> None:
    """Where torch cannot be imported they are the same, byte for byte."""
    plan, store = synthetic().build()
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    script = f"""
import json, sys
from pathlib import Path
sys.modules["torch"] = None
from bench.plan import Plan
from bench.report.analysis import analyse
from bench.report.forms import forms
from bench.report.gallery import Gallery
from bench.report.machine import Edition
from bench.report.results import read_results
from bench.report.text import write_text
from bench.store import Store
plan = Plan.from_json(json.loads(Path({str(tmp_path / "plan.json")!r}).read_text()))
results = read_results(plan, Store(Path({str(tmp_path / "results")!r})))
edition = Edition(revision=6, content_hash="f" * 64)
report = write_text(analyse(results), Gallery(), edition.content_hash)
files = forms(analyse(results), report, edition, {{}})
print(json.dumps({{name: content.decode() for name, content in files.items()}}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == read(plan, store)


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("**bold** and [a](https://b)", "bold and a"),
        (words.escape(r"a*b [c](d) \ $ <e>"), r"a*b [c](d) \ $ <e>"),
        (f"**{words.escape('a**b')}**", "a**b"),
    ],
)
def test_plain_words_have_no_markup(markdown: str, text: str) -> None:
    """What ``escape`` added is taken away again, and a label's own stars stay."""
    assert words.plain(markdown) == text


def _cards(reference: str) -> dict[str, Any]:
    return {"meta/own": {"reference": reference}}


def _named(citations: list[Citation]) -> list[Citation]:
    """Those that a plug-in names."""
    return [one for one in citations if "meta/own" in one.uses]
