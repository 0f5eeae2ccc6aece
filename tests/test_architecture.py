"""What ``nox -s lint`` holds the code to, beside style and types: layers, sizes, words."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package and its configuration, to be broken."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bench", tmp_path / "bench", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold(copy: Path) -> None:
    """The package as it stands keeps every contract."""
    done = _lint(copy)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("meta/maml.py", "from bench.stages import engine"),
        ("meta/maml.py", "from bench.meta import reptile"),
        ("meta/learn2learn_maml.py", "from bench.meta import maml"),
        ("report/text.py", "import torch"),
        ("utils.py", "x = 1"),
        ("seeds.py", "from bench.cell import Cell"),
    ],
)
def test_a_broken_layer_is_refused(copy: Path, file: str, line: str) -> None:
    """A method that imports the engine, torch in the report, a utils.py: the check fails."""
    path = copy / "bench" / file
    path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")

    done = _lint(copy)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout or "utils" in done.stdout + done.stderr


def test_files_are_short() -> None:
    """A file of over 330 lines holds two subjects: it is to be split where they part."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in sorted((ROOT / "bench").rglob("*.py"))
        if (count := len(path.read_text().splitlines())) > 330
    }

    assert long == {}


CORE = (
    "suite*.py",
    "plan.py",
    "run.py",
    "store.py",
    "record.py",
    "report/**/*.py",
    "report/**/*.jinja",
    "stages/*.py",
    "execute/*.py",
    # and what these have been split into
    *("audits.py", "budget.py", "cell.py", "checked.py", "collisions.py", "controls.py"),
    *("dataset.py", "episodes.py", "graph.py", "held_out.py", "inner.py", "mirror.py"),
    *("naming.py", "new_tasks.py", "options.py", "pipeline.py", "resolution.py", "rows.py"),
    *("run.py", "sizes.py", "tracking.py", "tune*.py", "tuner.py", "variant.py"),
)
OF_IMAGES = re.compile(r"image|pixel|photo|thumbnail|\bPIL\b|B?CHW\b", re.IGNORECASE)


def _said_of_images(package: Path) -> list[str]:
    """Return the lines of the core that speak of images, as ``file:line: text``."""
    files = [path for pattern in CORE for path in sorted(package.glob(pattern))]
    assert len(files) > 100
    return [
        f"{path.relative_to(package)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if OF_IMAGES.search(line)
    ]


def test_the_core_knows_no_kind_of_data() -> None:
    """Suite, plan, run, store, record, report, stages and execute hold no word about images."""
    assert _said_of_images(ROOT / "bench") == []


@pytest.mark.parametrize("line", ["# of each image", "x_BCHW = 0", "from PIL import ImageDraw"])
def test_a_word_about_images_is_found(copy: Path, line: str) -> None:
    """One such word anywhere in the core is one line of the check."""
    path = copy / "bench/stages/evaluate.py"
    path.write_text(f"{path.read_text()}\n{line}\n")
    assert len(_said_of_images(copy / "bench")) == 1
