"""A report is recomputed from its evidence: what was changed afterwards is found and named."""

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from bench import cli
from bench.cell import Json
from bench.errors import UserError
from bench.plan import Plan
from bench.report import difference, write
from bench.report.evidence import evidence
from bench.report.gallery import Gallery
from bench.report.results import read_results, results_of
from bench.report.verify import Verification, verify
from bench.report.write import is_current, write_report
from bench.store import Store

Make = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A report that was just written, and what it is of."""

    plan: Plan
    store: Store
    folder: Path

    def verify(self) -> Verification:
        """Check it against its own store."""
        return verify(self.folder, self.store)

    def change(self, name: str, old: str, new: str) -> str:
        """Replace the first match of a pattern in a text file; return what was replaced."""
        path = self.folder / name
        text = path.read_text()
        found = re.search(old, text)
        assert found is not None
        path.write_text(text[: found.start()] + found.expand(new) + text[found.end() :])
        return found.group()

    def vouch(self) -> None:
        """Write the sums of the files anew, as somebody who hides a change would."""
        names = [path.name for path in self.folder.iterdir() if path.name != "SHA256SUMS"]
        lines = [
            f"{hashlib.sha256((self.folder / name).read_bytes()).hexdigest()}  {name}\n"
            for name in sorted(names)
        ]
        (self.folder / "SHA256SUMS").write_text("".join(lines))

    def change_evidence(self, change: Callable[[Json], object]) -> None:
        """Change what the evidence says, and vouch for it."""
        path = self.folder / "evidence.json.gz"
        value = json.loads(gzip.decompress(path.read_bytes()))
        change(value)
        path.write_bytes(gzip.compress(json.dumps(value).encode(), mtime=0))
        self.vouch()


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out, which take seconds to draw."""
    monkeypatch.setattr(write, "gallery", lambda _: Gallery())


@pytest.fixture
def report(synthetic: Make, tmp_path: Path, no_figures: None) -> Made:
    """Return a report of a synthetic suite, without figures."""
    plan, store = synthetic(broken=frozenset({("simclr + maml", 5, 1)})).build()
    return Made(plan=plan, store=store, folder=write_report(plan, store, tmp_path / "r").parent)


# --- an honest report


def test_a_fresh_report_agrees(synthetic: Make, tmp_path: Path) -> None:
    """Files, numbers, figures and stages are counted, and everything agrees; sha256sum too."""
    plan, store = synthetic(shots=(1,)).build()
    folder = write_report(plan, store, tmp_path / "reports").parent
    (folder / ".hidden").write_text("of an editor")

    found = verify(folder, store)

    assert found.agrees, found.text
    assert found.text.endswith("everything agrees")
    assert re.search(r"evidence: (\d+) of \1 stages, 840 accuracies", found.text)
    assert re.search(r"recomputed: \d+ texts and tables, [\d,]{3,} numbers\n", found.text)
    drawn = [path for path in folder.iterdir() if path.suffix in (".png", ".svg")]
    assert f"redrawn: {len(drawn)} figures" in found.text
    assert len(drawn) > 20
    assert f"{len(plan.stages)} stages checked, file by file" in found.text
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True)
    assert done.returncode == 0
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert {line[66:] for line in lines} | {".hidden", "SHA256SUMS"} == {
        path.name for path in folder.iterdir()
    }


def test_the_evidence_gives_the_same_results(held: Make, tmp_path: Path, no_figures: None) -> None:
    """From the folder or from the store: the same report and hash, byte for byte, losses too."""
    plan, store = held(broken=frozenset({("maml", 5, 1)})).build()
    folder = write_report(plan, store, tmp_path / "reports").parent
    shutil.rmtree(store.root)

    read = evidence.unpack(folder)

    assert evidence.pack(read) == {n: (folder / n).read_bytes() for n in evidence.FILES}
    made = write.contents(read)
    assert {n: (folder / n).read_bytes() for n in made} == made
    found = verify(folder, store)
    assert found.agrees, found.text
    assert re.search(r"not in this results folder .*: (\d+) of \1 stages; the evidence", found.text)
    assert any("loss" in one.measured_TE for one in results_of(read).cells)


def test_what_the_store_holds_is_in_the_evidence(synthetic: Make, tmp_path: Path) -> None:
    """Damaged, failed and finished stages are the same in results of the store and of evidence."""
    plan, store = synthetic(broken=frozenset({("simclr + maml", 5, 1)})).build()
    folder = store.folder("evaluate", plan.cells[0].stages["evaluate"])
    (folder / "episodes.parquet").write_bytes(b"other")
    gathered = evidence.gather(plan, store)
    for name, content in evidence.pack(gathered).items():
        (tmp_path / name).write_bytes(content)

    ours, theirs = read_results(plan, store), results_of(evidence.unpack(tmp_path))

    assert (ours.plan, ours.notes, ours.failures) == (theirs.plan, theirs.notes, theirs.failures)
    assert ours.manifests == theirs.manifests
    assert [one.reason for one in ours.cells if one.status != "done"] == [
        *("its folder is damaged", "evaluate: NaN in the loss")
    ]
    for one, other in zip(ours.cells, theirs.cells, strict=True):
        assert (one.cell, one.status, one.reason) == (other.cell, other.status, other.reason)
        assert one.manifest == other.manifest
        assert one.trained == other.trained
        assert one.steps == other.steps
        assert np.array_equal(one.accuracy_TE, other.accuracy_TE)


def test_evidence_is_small(synthetic: Make) -> None:
    """A hundred episodes of sixty cells, four read-outs: well under 300 kB."""
    methods = [one for one in synthetic().methods if one.adapts]
    plan, store = synthetic(methods=methods, seeds=30, episodes=100).build()

    files = evidence.pack(evidence.gather(plan, store))

    assert len(plan.cells) == 60
    assert sum(len(content) for content in files.values()) < 300_000
    table = parquet.read_table(io.BytesIO(files["episodes.parquet"]))
    assert table.num_rows == 60 * 100 * 4
    assert table.column_names == ["key", "episode", "step", "accuracy"]


# --- one change


def test_a_digit_of_the_text_is_found(report: Made) -> None:
    """One digit of index.md: the file fails its sum, and the line and both numbers are named."""
    old = report.change("index.md", r"(\d\d)\.(\d) \[", r"\1.X [").removesuffix(" [")
    report.change("index.md", "X", "1" if old[-1] != "1" else "2")

    found = report.verify()

    assert "index.md: does not match its sum" in found.differences
    (line,) = [one for one in found.differences if "printed" in one]
    assert re.fullmatch(rf"index\.md:\d+: printed \d\d\.[12], recomputed {old}", line)


@pytest.mark.parametrize("digit", ["first", "last"])
def test_a_digit_of_a_table_is_found(report: Made, digit: str) -> None:
    """One digit of a CSV, be it the last of seventeen: the file fails its sum, and says where."""
    pattern = r"0\.(\d)(\d{14,})(\d)"
    new = r"0.9\g<2>\3" if digit == "first" else r"0.\1\g<2>0"
    old = report.change("accuracy-glyphs-5way-1shot.csv", pattern, new)

    found = report.verify()

    assert "accuracy-glyphs-5way-1shot.csv: does not match its sum" in found.differences
    (said,) = [one for one in found.differences if one.endswith(f"recomputed {old}")]
    assert re.match(r"accuracy-glyphs-5way-1shot\.csv:\d+: printed 0\.", said)


@pytest.mark.parametrize("name", ["evidence.json.gz", "episodes.parquet"])
def test_a_byte_of_the_evidence_is_found(report: Made, name: str) -> None:
    """One byte of a file of evidence: it is named, and nothing is recomputed from it."""
    path = report.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    found = report.verify()

    assert found.differences == [f"{name}: does not match its sum"]
    assert "not recomputed" in found.text


def test_missing_and_extra_files_are_named(report: Made) -> None:
    """A file that is gone, and one that nobody wrote."""
    (report.folder / "cells.csv").unlink()
    (report.folder / "notes.txt").write_text("mine")

    assert report.verify().differences == ["cells.csv: missing", "notes.txt: not of this report"]


def test_evidence_of_another_report_is_named(report: Made, synthetic: Make, tmp_path: Path) -> None:
    """Somebody else's evidence fails its sum; vouched for, the numbers do not follow from it."""
    plan, store = synthetic(seeds=2, results=tmp_path / "other").build()
    other = write_report(plan, store, tmp_path / "others").parent
    for name in evidence.FILES:
        shutil.copy(other / name, report.folder)
    assert report.verify().differences == [
        f"{name}: does not match its sum" for name in ("episodes.parquet", "evidence.json.gz")
    ]

    report.vouch()
    found = report.verify()

    assert any("cells.csv" in one and "recomputed" in one for one in found.differences)
    assert len(found.differences) > 20
    assert re.search(rf"\n  and {len(found.differences) - 20} more$", found.text)


def test_half_of_the_evidence_of_another_report_is_named(
    report: Made, synthetic: Make, tmp_path: Path
) -> None:
    """Episodes of other stages, vouched for: no report can be made, and that is all."""
    plan, store = synthetic(episodes=7, results=tmp_path / "other").build()
    other = write_report(plan, store, tmp_path / "others").parent
    shutil.copy(other / "episodes.parquet", report.folder)
    report.vouch()

    (said,) = report.verify().differences

    assert said.startswith("no report can be made from the evidence (KeyError")


# --- a change that somebody vouches for


@pytest.mark.parametrize("gone", [evidence.FILES, evidence.FILES[:1]])
def test_evidence_that_is_gone_with_its_sum_is_missing(report: Made, gone: tuple[str, ...]) -> None:
    """A report that nothing can be recomputed from does not agree, whatever its sums say."""
    for name in gone:
        (report.folder / name).unlink()
    report.vouch()

    found = report.verify()

    assert found.differences == [f"{name}: missing" for name in sorted(gone)]
    assert "not recomputed" in found.text


def test_the_last_digit_with_its_sum_is_said(report: Made) -> None:
    """What differs below the tolerance agrees, and it is said where it stands."""
    report.change("accuracy-glyphs-5way-1shot.csv", r"0\.(\d)(\d{14,})(\d)", r"0.\1\g<2>0")
    report.vouch()

    found = report.verify()

    assert found.agrees
    near = "1 differ below 1e-09 of their value, the first in accuracy-glyphs-5way-1shot.csv:"
    assert near in found.text


def test_a_digit_with_its_sum_is_found(report: Made) -> None:
    """A digit and SHA256SUMS changed together: recomputation finds it and names the place."""
    old = report.change("cells.csv", r"0\.(\d)(\d{14,})", r"0.9\2")
    report.vouch()

    (said,) = report.verify().differences

    assert re.fullmatch(rf"cells\.csv:\d+: printed 0\.9\d+, recomputed {old}", said)


def test_a_figure_with_its_sum_is_found(
    synthetic: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure changed with its sum is found by drawing it again, if this matplotlib drew it."""
    plan, store = synthetic(shots=(1,)).build()
    made = Made(plan=plan, store=store, folder=write_report(plan, store, tmp_path / "r").parent)
    made.change("learning.svg", "#666666", "#666667")
    made.vouch()

    assert made.verify().differences == ["learning.svg: not the figure that the evidence gives"]

    made.change_evidence(lambda value: value["written_by"].update(matplotlib="1.0"))
    monkeypatch.setattr("bench.report.verify.contents", lambda evidence: {})  # as it was
    assert "not redrawn: drawn by matplotlib 1.0, here" in made.verify().text


def test_a_file_that_is_added_with_its_sum_is_found(report: Made) -> None:
    """A table that the evidence does not give is named; so is one that was left out."""
    (report.folder / "accuracy.csv").write_text("variant,accuracy\nours,0.99\n")
    (report.folder / "cells.csv").unlink()
    report.vouch()

    assert report.verify().differences == [
        "accuracy.csv: the evidence gives no such file",
        "cells.csv: not in SHA256SUMS",
    ]


def test_a_stated_mean_that_the_episodes_lack_is_found(report: Made) -> None:
    """A mean raised in the evidence, text and sums made to fit, is not that of its episodes."""
    key = report.plan.cells[0].stages["evaluate"]

    def raised(value: Json) -> None:
        value["manifests"][key]["metrics"]["accuracy"] += 0.1

    report.change_evidence(raised)
    for name, content in write.contents(evidence.unpack(report.folder)).items():
        (report.folder / name).write_bytes(content)
    report.vouch()
    shutil.rmtree(report.store.root)

    (said,) = report.verify().differences

    assert re.fullmatch(rf"evaluate {key[:12]}: accuracy stated .*, of the episodes .*", said)


def test_an_input_that_its_key_does_not_hash_is_found(report: Made) -> None:
    """A stage's inputs are what its key is the hash of: a budget made smaller is found."""

    def changed(value: Json) -> None:
        stage = next(one for one in value["plan"]["stages"] if one["kind"] == "metatrain")
        stage["inputs"]["budget"]["examples"] = 1

    report.change_evidence(changed)

    said = report.verify().differences
    assert any(re.fullmatch(r"metatrain \w{12}: its key is not the hash .*", one) for one in said)


# --- against the store


def test_a_byte_of_a_stored_file_is_found(report: Made) -> None:
    """One byte of a stage's parquet file: the stage and the file are named."""
    key = report.plan.cells[1].stages["evaluate"]
    path = report.store.folder("evaluate", key) / "episodes.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    (said,) = report.verify().differences

    assert said == f"evaluate {key[:12]}: damaged: {path} does not match its SHA256SUMS"


def test_a_stored_file_that_no_report_reads_is_checked(report: Made) -> None:
    """Weights are no evidence, and still checked: a stage with a file more or less is damaged."""
    key = next(one for one, spec in report.plan.stages.items() if spec.kind == "metatrain")
    folder = report.store.folder("metatrain", key)
    (folder / "weights.safetensors").write_bytes(b"others")

    (said,) = report.verify().differences

    expected = f"{folder} holds other files than its SHA256SUMS says"
    assert said == f"metatrain {key[:12]}: damaged: {expected}"


def test_other_stages_of_the_same_keys_are_found(
    report: Made, synthetic: Make, tmp_path: Path
) -> None:
    """A store that holds other results for the same keys is not what the report was made from."""
    better = [
        type(one)(**vars(one) | {"mean": one.mean + 0.1}) if one.label == "simclr + none" else one
        for one in synthetic().methods
    ]
    _, store = synthetic(methods=better, results=tmp_path / "other").build()

    found = verify(report.folder, store)

    stages = {" ".join(one.split()[:2]) for one in found.differences}
    assert len(stages) == 6
    assert all("is not that of the evidence" in one for one in found.differences)
    assert {one.split("store's ")[1].split()[0] for one in found.differences} == {
        *("SHA256SUMS", "manifest.json", "episodes.parquet")
    }
    assert "finished since: 1 stages" in found.text


# --- reports that cannot be checked


def test_an_earlier_report_is_a_mistake(
    report: Made, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A report without evidence, or of another revision, says: write it again; exit 2."""
    report.change_evidence(lambda value: value.update(revision=6))
    with pytest.raises(UserError, match=r"another version of bench.*rite it again"):
        report.verify()
    for name in (*evidence.FILES, "SHA256SUMS"):
        (report.folder / name).unlink()

    assert cli.main(["verify", str(report.folder)]) == 2
    assert "write it again with `bench report SUITE`" in capsys.readouterr().err
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "no report: it holds no index.md" in capsys.readouterr().err
    assert cli.main(["verify", str(report.folder), "--cells", "2"]) == 2
    assert "is no suite" in capsys.readouterr().err


def test_a_report_of_other_code_says_so(report: Made) -> None:
    """Where the code that makes reports has changed within a version, a difference may be its."""
    assert "other code" not in report.verify().text

    report.change_evidence(lambda value: value["written_by"].update(sources="0" * 64))

    assert "written by other code than this" in report.verify().text


def test_the_files_of_an_earlier_version_go(report: Made, tmp_path: Path) -> None:
    """A report that lists its files in index.md, as earlier versions did, is replaced whole."""
    index = report.folder / "index.md"
    (report.folder / "SHA256SUMS").unlink()
    text = index.read_text()
    index.write_text(re.sub(r"(<!-- bench report \w+) -->", r"\1 cells.csv old.csv -->", text))
    (report.folder / "old.csv").write_text("old")
    assert not is_current(report.plan, report.store, report.folder.parent / "r")

    write_report(report.plan, report.store, tmp_path / "r")

    assert not (report.folder / "old.csv").exists()
    assert report.verify().agrees


def test_a_report_cut_short_is_not_current(report: Made, tmp_path: Path) -> None:
    """Sums are written last: an index that they do not know is written again."""
    assert is_current(report.plan, report.store, tmp_path / "r")
    report.change("index.md", "# synthetic", "# other")

    assert not is_current(report.plan, report.store, tmp_path / "r")


def test_the_command_needs_no_torch(report: Made) -> None:
    """`bench verify` exits 0 or 1, says why, and works where torch cannot be imported."""
    code = (
        "import sys\nfor name in ('torch', 'torchvision'): sys.modules[name] = None\n"
        "from bench.report import gallery, write\n"
        "write.gallery = lambda _: gallery.Gallery()\n"
        "from bench.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    results = str(report.store.root.parent)
    command = [sys.executable, "-c", code, "verify", str(report.folder), "--results", results]

    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("everything agrees\n")
    report.change("cells.csv", "simclr", "simclx")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "differences: 2\n  cells.csv: does not match its sum\n" in done.stdout


# --- differences of texts


@pytest.mark.parametrize(
    ("printed", "recomputed", "agrees"),
    [
        ("| 0.12345678901 |", "| 0.12345678902 |", True),
        ("0.1234567890,x", "0.1234567891,x", True),
        ("-1.23456789012e-07", "-1.23456789013e-07", True),
        ("0.12345678", "0.12345679", False),  # eight digits are printed so on purpose
        ("0.1234567890", "0.1234567990", False),
        ("123456789012", "123456789013", False),  # a count
        ("12.1 [11.0, 13.2]", "12.1 [11.0, 13.3]", False),
        ("`1234567890.1e5f`", "`1234567890.1e5e`", False),  # a digest
        ("better", "worse", False),
        ("a, b", "a; b", False),
    ],
)
def test_numbers_are_compared_by_their_length(printed: str, recomputed: str, agrees: bool) -> None:
    """Numbers printed in full may differ below 1e-9 of their value, all else not at all."""
    found = difference.compare("x.md", printed.encode(), recomputed.encode())

    assert (found.differences == []) is agrees
    assert len(found.close) == agrees


def test_a_long_line_is_cut_where_it_differs() -> None:
    """What is shown of two long lines begins shortly before their first difference."""
    same = "word " * 30

    found = difference.compare("x.md", f"{same}a b c".encode(), f"{same}d".encode())

    assert found.differences == [
        "x.md:1: printed ...word word word word a b c, recomputed ...word word word word d"
    ]


def test_ends_of_lines_are_shown() -> None:
    """A line that differs in what is not seen is shown in quotation marks."""
    found = difference.compare("x.md", b"a\r\n", b"a\n")

    assert found.differences == ["x.md:1: printed 'a\\r', recomputed 'a'"]


def test_lines_that_are_gone_are_named() -> None:
    """A line left out is named at its place, and not every line that follows."""
    found = difference.compare("x.md", b"1\n3\n4\n", b"1\n2\n3\n4\n")

    assert found.differences == ["x.md:2: printed nothing, recomputed 2"]


# --- the certificate


@pytest.mark.parametrize("equal", [True, False])
def test_the_report_shows_the_certificate(report: Made, equal: bool) -> None:
    """How many cells, which, where and when; or that none was, and how to have some recomputed."""
    none = "No cell of this suite was recomputed: `bench verify suites/gone.yaml --cells 3`"
    assert f"### Certificate\n\n* {none}\n" in (report.folder / "index.md").read_text()
    cell = report.plan.cells[0]
    key = cell.stages["evaluate"]
    here = {"hardware": "H100", "device": "cuda", "torch": "2.15.0", "bench": "1", "python": "3"}
    stage = {
        "kind": "evaluate",
        "key": key,
        "sums": evidence.sums_of(report.store, "evaluate", key),
        "equal": equal,
        "differs": [] if equal else ["episodes.parquet"],
        "there": here | {"hardware": "A100"},
        "here": here,
    }
    certificate = {
        "date": "2026-02-03",
        "seconds": 12.0,
        "cells_planned": 24,
        "cells": [{"id": cell.id, "key": key}],
        "stages": [stage],
        "here": here,
        "equal": equal,
    }
    path = report.store.root.parent / "certificates" / "synthetic.json"
    path.parent.mkdir()
    path.write_text(json.dumps(certificate))
    assert not is_current(report.plan, report.store, report.folder.parent)

    text = write_report(report.plan, report.store, report.folder.parent).read_text()

    are = "are equal bit for bit" if equal else "are **not equal bit for bit**"
    assert f"1 of 24 cells was recomputed from nothing on 2026-02-03 and {are}: 1 stages" in text
    assert "on H100 (cuda), torch 2.15.0" in text
    assert cell.id in text.split("chosen by the hash")[1]
    other = f"evaluate `{key[:12]}`: episodes.parquet; other hardware or versions (hardware A100"
    assert (other in text) is not equal
    assert "Not reproduced" not in text  # which hardware may explain
    assert report.verify().agrees
    at_home = stage | {"there": here, "largest_difference": 0.2}
    path.write_text(json.dumps(certificate | {"stages": [at_home]}))
    text = write_report(report.plan, report.store, report.folder.parent).read_text()
    assert ("> **Not reproduced: 1 of 1 stages" in text) is not equal
    assert ("; on the same machine; accuracies differ by 0.2 at most" in text) is not equal
    path.write_text(json.dumps(certificate | {"stages": [stage | {"sums": "0" * 64}]}))
    text = write_report(report.plan, report.store, report.folder.parent).read_text()
    assert "A certificate of 2026-02-03 is left out: of other results." in text
