"""The one error that a user can cause; everything else that is raised is a bug in bench."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend; the command line prints it without a traceback (exit 2).

    Args:
        where: file and line, or the option or key, that holds the mistake.
        found: what stands there.
        works: what would work.
    """

    def __init__(self, where: str, found: str, works: str) -> None:
        """Keep the three parts; the message joins them."""
        super().__init__(f"{where}: {found}. {works}")
        self.where, self.found, self.works = where, found, works


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known names are near ``name``, or list them all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=2)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known: {', '.join(names)}." if names else "None is known."
