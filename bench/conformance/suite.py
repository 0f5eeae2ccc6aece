"""The pytest module of ``bench check``: each check on the plug-in that was asked for."""

from collections.abc import Callable

import pytest

from bench.conformance.checks import sentence
from bench.conformance.subject import Check, Fault, NotInstalled, Subject, perform


def test_conforms(
    check: Check, subject: Subject, record_property: Callable[[str, object], None]
) -> None:
    """The plug-in keeps this part of its contract."""
    record_property("check", sentence(check))
    found = ""
    try:
        perform(check, subject)
    except Fault as fault:
        found = str(fault)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    if found:  # outside of the except, for a message without a traceback
        pytest.fail(found, pytrace=False)
