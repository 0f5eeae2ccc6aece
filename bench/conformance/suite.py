"""The pytest module of ``bench check``: each check on the plug-in that was asked for."""

from collections.abc import Callable

import pytest

from bench.conformance.subject import Check, Fault, NotInstalled, Subject, perform, sentence


def test_conforms(
    check: Check, subject: Subject, record_property: Callable[[str, object], None]
) -> None:
    """The plug-in keeps this part of its contract."""
    record_property("check", sentence(check))
    try:
        perform(check, subject)
    except Fault as fault:
        pytest.fail(str(fault), pytrace=False)
    except NotInstalled as missing:
        pytest.skip(str(missing))
