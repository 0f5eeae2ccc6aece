"""Pages that show a package: written to a folder, installed there, their commands run."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = re.compile(r"^`([\w./]+)`[^\n]*:\n\n```\w+\n(.*?)^```", re.M | re.S)
COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
INSTALL = "uv pip install -e ."  # here by pip, without a network, into a folder
OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What following a page came to: its folder, a command line, and each command's outcome."""

    folder: Path
    bench: Run
    done: Mapping[str, "subprocess.CompletedProcess[str]"]


def installed(folder: Path) -> Run:
    """Install the package in ``source`` with pip beside it; return a command line that sees it."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", *OFFLINE]
    command += ["--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    paths = [str(folder / "site"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "bench.cli", *arguments]
        return subprocess.run(
            command,
            cwd=folder / "source",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def follow(page: Path, folder: Path) -> Followed:
    """Write the files of a page, install the package, and run every command it shows."""
    text = page.read_text()
    files, blocks = dict(FILE.findall(text)), COMMANDS.findall(text)
    assert len(files) + len(blocks) == text.count("\n```") // 2
    for name, content in files.items():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_text(content)
    first, *commands = [line for block in blocks for line in block.splitlines()]
    assert first == INSTALL
    bench = installed(folder)
    done = {command: bench(*shlex.split(command)[1:]) for command in commands}
    return Followed(folder=folder / "source", bench=bench, done=done)


def complaints(page: Followed) -> list[str]:
    """Return each command that did not exit 0 or left a traceback, with what it said."""
    return [
        f"{command}: {done.stdout}{done.stderr}"
        for command, done in page.done.items()
        if done.returncode or "Traceback" in done.stdout + done.stderr
    ]
