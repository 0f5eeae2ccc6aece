"""The pytest module of ``bench check``: each check on the plug-in that was asked for."""

import pytest

from bench.conformance.subject import Check, Fault, NotInstalled, Subject, perform


def test_conforms(check: Check, subject: Subject) -> None:
    """The plug-in keeps this part of its contract."""
    try:
        perform(check, subject)
    except Fault as fault:
        pytest.fail(str(fault), pytrace=False)
    except NotInstalled as missing:
        pytest.skip(str(missing))
