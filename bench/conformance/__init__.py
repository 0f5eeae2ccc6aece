"""Whether a plug-in keeps the contract: the shipped suite that every plug-in passes.

``bench check pretext/rotation`` runs it on one plug-in, of this package or of any other.
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.catalogue import KINDS, build
from bench.cell import Json
from bench.errors import UserError, suggest

if TYPE_CHECKING:
    import pytest

    from bench.conformance.subject import Subject

OPTIONS = (
    "--pyargs bench.conformance.suite --verbose --no-header --tb=short -rs"
    " -p no:cacheprovider -o console_output_style=classic"
).split()


class _Chosen:
    """A pytest plug-in that hands the suite one subject and every check of its kind."""

    def __init__(self, subject: "Subject") -> None:
        self._subject = subject

    def pytest_generate_tests(self, metafunc: "pytest.Metafunc") -> None:
        from bench.conformance.subject import checks_of, sentence

        checks = checks_of(self._subject)
        metafunc.parametrize("check", checks, ids=[sentence(check) for check in checks])
        metafunc.parametrize("subject", [self._subject], ids=[self._subject.title])


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
    import pytest
    import torch

    from bench.conformance.subject import Subject
    from bench.stages.place import settle

    settle(torch.device("cpu"))
    subject = Subject(kind=kind, name=name, plugin=plugin)
    # No settings of the project one happens to stand in, and no data set cached by older code.
    options = [*OPTIONS, "-c", os.devnull, "--rootdir", os.path.dirname(__file__)]
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", cache)
        code = pytest.main(options, plugins=[_Chosen(subject)])
    sys.stdout.flush()
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    return int(code != pytest.ExitCode.OK)
