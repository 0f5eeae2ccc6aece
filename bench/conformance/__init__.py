"""Whether a plug-in keeps the contract: the shipped suite that every plug-in passes.

``bench check pretext/rotation`` runs it on one plug-in, of this package or of any other.
"""

import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping
from textwrap import indent
from typing import TYPE_CHECKING

from bench.catalogue import KINDS, build
from bench.cell import Json
from bench.errors import UserError, suggest

if TYPE_CHECKING:
    import pytest

    from bench.conformance.subject import Subject


def check(kind: str, name: str, params: Mapping[str, Json] | None = None) -> int:
    """Run the suite on one plug-in and print what it finds; 0: it conforms, 1: it does not.

    ``params`` are its parameters, needed where they have no defaults.

    Raises:
        UserError: no such plug-in or parameter, or pytest is not installed.
    """
    title = f"{kind}/{name}"
    if kind not in KINDS:
        raise UserError(title, f"no kind of plug-in is named {kind!r}", suggest(kind, KINDS))
    if importlib.util.find_spec("pytest") is None:
        works = "Install it: python -m pip install 'meta-ssl-bench[check]'."
        raise UserError(title, "the checks need pytest, which is not installed", works)
    plugin = build(kind, name, params or {}, title)
    import torch

    from bench.conformance.subject import Subject
    from bench.stages.place import settle

    settle(torch.device("cpu"))
    return _run(Subject(kind=kind, name=name, plugin=plugin))


def read_params(text: str) -> dict[str, Json]:
    """Read parameters that the command line gives as JSON; raises UserError for anything else."""
    try:
        params = json.loads(text)
    except ValueError:
        params = None
    if not isinstance(params, dict):
        works = """Use a JSON object, as in --params '{"order": 1}'."""
        raise UserError("--params", repr(text), works)
    return params


def _run(subject: "Subject") -> int:
    """Run pytest on the suite, as no project's settings and no other plug-in change it."""
    import pytest

    report = _Report(subject)
    options = ["--pyargs", "bench.conformance.suite", "-c", os.devnull, "-p", "no:terminal"]
    options += ["--rootdir", os.path.dirname(__file__), "-p", "no:cacheprovider"]
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", cache)  # a data set is read as its code is now
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        code = pytest.main(options, plugins=[report])
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    print(report.verdict)
    return int(code != pytest.ExitCode.OK)


class _Report:
    """A pytest plug-in: hands the suite each check of a subject, and prints what came of it."""

    def __init__(self, subject: "Subject") -> None:
        self._subject = subject
        self._counts = {"passed": 0, "failed": 0, "skipped": 0}

    @property
    def verdict(self) -> str:
        """The last line: how many checks passed, and what follows."""
        passed, failed, skipped = self._counts.values()
        total, title = passed + failed + skipped, self._subject.title
        could_not = f", {skipped} could not be made here" if skipped else ""
        end = f"{title} does not conform" if failed or not passed else f"{title} conforms"
        return f"{passed} of {total} checks passed{could_not}: {end}."

    def pytest_generate_tests(self, metafunc: "pytest.Metafunc") -> None:
        """Make one test of each check."""
        from bench.conformance.checks import checks_of, sentence

        checks = checks_of(self._subject)
        metafunc.parametrize("subject", [self._subject], ids=[self._subject.title])
        metafunc.parametrize("check", checks, ids=[sentence(check) for check in checks])

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        """Print the outcome of a check: one line, and why it failed below it."""
        if report.when != "call":
            assert report.passed, report.longreprtext  # there is nothing to set up
            return
        self._counts[report.outcome] += 1
        words = {"passed": "ok   ", "failed": "FAULT", "skipped": "skip "}
        print(words[report.outcome], report.user_properties[0][1], flush=True)
        if isinstance(report.longrepr, tuple):
            print(indent(report.longrepr[2].removeprefix("Skipped: "), " " * 6))
        elif not report.passed:
            print(indent(report.longreprtext.strip(), " " * 6), flush=True)
