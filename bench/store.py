"""The truth on disk: one content-addressed folder per finished stage, whole or not at all.

results/store/FORMAT
results/store/stages/<kind>/<k2>/<key>/{manifest.json, SHA256SUMS, *.safetensors, *.parquet}
results/store/failures/<key>/<n>/failure.json, and <key>-mended/ once it has succeeded
results/store/partial/<key>/     being written, locked by its owner through <key>.lock
results/store/aside/<key>-<n>/   a folder that failed its checksums
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from filelock import FileLock

from bench.cell import Json, StageSpec
from bench.errors import UserError

FORMAT = "meta-ssl-bench store 1\n"
SUMS = "SHA256SUMS"  # covers every other file of a stage's folder


class Damaged(Exception):
    """A file of a finished stage is not what was written."""


class Store:
    """The stages under one results folder."""

    def __init__(self, results: Path) -> None:
        """Name the folder; nothing is read or written yet."""
        self.root = results / "store"

    def prepare(self) -> None:
        """Create the folder and check that it can be written and has this format.

        Raises:
            UserError: it cannot be written, or was written in another format.
        """
        mark = self.root / "FORMAT"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not mark.exists():
                write_atomic(mark, FORMAT.encode())
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
            found = mark.read_text(errors="replace")
        except OSError as error:
            raise UserError(
                f"--results {self.root.parent}",
                f"the folder cannot be written ({error.strerror})",
                "Name a folder that you may write to.",
            ) from error
        if found != FORMAT:
            raise UserError(
                str(mark),
                f"another format, {found.strip()!r}",
                f"This version reads {FORMAT.strip()!r}: name another --results folder.",
            )

    def folder(self, kind: str, key: str) -> Path:
        """Where a finished stage lies, whether or not it is there."""
        return self.root / "stages" / kind / key[:2] / key

    def partial(self, key: str) -> Path:
        """Where a stage is written, and its checkpoint kept, until it is whole."""
        return self.root / "partial" / key

    def has(self, kind: str, key: str) -> bool:
        """Whether a stage is finished."""
        return (self.folder(kind, key) / SUMS).is_file()

    def manifest(self, kind: str, key: str) -> dict[str, Json]:
        """Read a finished stage's manifest; raises Damaged when it is not what was written."""
        manifest: dict[str, Json] = json.loads(self.read(kind, key, "manifest.json"))
        return manifest

    def read(self, kind: str, key: str, name: str) -> bytes:
        """Read one file of a finished stage, checked against its sum; raises Damaged."""
        folder = self.folder(kind, key)
        try:
            sums = read_sums(folder)
            content = (folder / name).read_bytes()
        except (OSError, ValueError) as error:
            raise Damaged(f"{folder / name}: {error}") from error
        if sums.get(name) != hashlib.sha256(content).hexdigest():
            raise Damaged(f"{folder / name} does not match its {SUMS}")
        return content

    def check(self, kind: str, key: str) -> None:
        """Check every file of a finished stage; raises Damaged."""
        folder = self.folder(kind, key)
        try:
            named = set(read_sums(folder))
            there = {path.name for path in folder.glob("[!.]*")} - {SUMS}
        except (OSError, ValueError) as error:
            raise Damaged(f"{folder / SUMS}: {error}") from error
        if named != there or "manifest.json" not in named:
            raise Damaged(f"{folder} holds other files than its {SUMS} says")
        for name in named:
            self.read(kind, key, name)

    def keys(self, kind: str) -> Iterator[str]:
        """Every finished stage of a kind."""
        for folder in sorted((self.root / "stages" / kind).glob("*/*")):
            if (folder / SUMS).is_file():
                yield folder.name

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """Own the stage's partial folder: no other process writes it meanwhile."""
        partial = self.partial(key)
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial.with_suffix(".lock")):
            partial.mkdir(parents=True, exist_ok=True)
            yield partial

    def commit(
        self, spec: StageSpec, manifest: Mapping[str, Json], files: Mapping[str, bytes]
    ) -> None:
        """Write a stage, flush it, and rename it into place; call it inside ``writing``.

        A finisher who finds the stage there verifies it and discards its own.
        """
        target, partial = self.folder(spec.kind, spec.key), self.partial(spec.key)
        if self.has(spec.kind, spec.key):
            self.check(spec.kind, spec.key)
        else:
            whole = partial / "whole"
            shutil.rmtree(whole, ignore_errors=True)
            whole.mkdir()
            contents = {
                "manifest.json": json.dumps(manifest, indent=1, sort_keys=True).encode()
            } | dict(files)
            for name, content in contents.items():
                _write_flushed(whole / name, content)
            _write_flushed(whole / SUMS, sums_file(contents))
            if target.exists():  # it has lost its sums
                self.set_aside(spec.kind, spec.key)
            target.parent.mkdir(parents=True, exist_ok=True)
            whole.rename(target)
            _flush_folder(target.parent)
        self._retire_failures(spec.key)
        shutil.rmtree(partial)

    def _retire_failures(self, key: str) -> None:
        """Move the failures of a stage that has now succeeded out of its way."""
        failures = self.root / "failures" / key
        if failures.is_dir():
            mended = self.root / "failures" / f"{key}-mended"
            number = sum(1 for _ in mended.glob("*"))
            mended.mkdir(exist_ok=True)
            failures.rename(mended / str(number))

    def set_aside(self, kind: str, key: str) -> Path:
        """Move a damaged stage out of the way, so that it is computed again; say where."""
        aside = self.root / "aside"
        aside.mkdir(exist_ok=True)
        target = aside / f"{key}-{len(list(aside.glob(f'{key}-*')))}"
        self.folder(kind, key).rename(target)
        return target

    def add_failure(self, key: str, failure: Mapping[str, Json]) -> None:
        """Keep a failed outcome: ``reason``, ``traceback``, and whose it was."""
        folders = self._failure_folders(key)
        number = int(folders[-1].name) + 1 if folders else 0
        folder = self.root / "failures" / key / str(number)
        folder.mkdir(parents=True)
        write_atomic(folder / "failure.json", json.dumps(failure, indent=1).encode())

    def failures(self, key: str) -> list[dict[str, Json]]:
        """Every failed outcome of a stage, oldest first."""
        return [
            json.loads((folder / "failure.json").read_text())
            for folder in self._failure_folders(key)
            if (folder / "failure.json").is_file()
        ]

    def _failure_folders(self, key: str) -> list[Path]:
        folders = (self.root / "failures" / key).glob("*")
        numbered = [folder for folder in folders if folder.name.isdecimal()]
        return sorted(numbered, key=lambda folder: int(folder.name))


def cut_damage(path: Path) -> None:
    """Cut a log of JSON objects, one a line, before its first damaged line; keep a copy of it.

    A process that is killed, or a full disk, leaves half a line; what follows would stand on it.
    """
    written = path.read_bytes() if path.is_file() else b""
    lines = written.splitlines(keepends=True)
    whole = list(takewhile(_is_entry, lines))
    if len(whole) < len(lines):
        write_atomic(path.with_suffix(".damaged"), written)
        write_atomic(path, b"".join(whole))


def _is_entry(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write_flushed(scratch, content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)  # there only when one of the two failed


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sums_file(contents: Mapping[str, bytes]) -> bytes:
    """Return a SHA256SUMS of these files, as ``sha256sum -c`` reads it."""
    lines = [f"{hashlib.sha256(one).hexdigest()}  {name}\n" for name, one in contents.items()]
    return "".join(sorted(lines, key=lambda line: line[66:])).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """Read a folder's SHA256SUMS: a file's name to its sum."""
    lines = (folder / SUMS).read_text().splitlines()
    return {name: total for total, _, name in (line.partition("  ") for line in lines)}
