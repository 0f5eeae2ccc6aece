"""The report's tables for LaTeX: booktabs, every text escaped."""

import re
from collections.abc import Sequence

from bench.report import words
from bench.report.tables import Table

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}
MARKS = re.compile(
    r"(?P<reach>(?<!\w)\+-(?= ?\d))"  # 98.3 +- 0.2
    r"|(?P<minus>(?<![\w.)\]-])-(?=\.?\d))"  # -0.5, but neither 5-way nor 2020-01-01
    r"|(?P<special>[\\~^|<>`\"&%$#_{}])"
)


def latex(table: Table, origin: str) -> str:
    """Return a table as a booktabs ``tabular``; ``origin`` says in a comment where it is from.

    The preamble needs ``booktabs``, and T1 fonts where a label holds a straight quote.
    """
    columns = "".join("r" if i in table.right else "l" for i in range(len(table.header)))
    return "\n".join(
        [
            f"% {table.name}: {' '.join(origin.split())}",
            r"% It needs \usepackage{booktabs}.",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _row(table.header),
            r"\midrule",
            *map(_row, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _row(texts: Sequence[str]) -> str:
    cells = [escape(text) for text in texts]
    if cells[0].startswith(("[", "*")):
        cells[0] = "{}" + cells[0]  # else an argument of the \\ or the rule before it
    return " & ".join(cells) + r" \\"


def escape(text: str) -> str:
    """Return a text as LaTeX shows it: a real minus, a plus-minus sign, a dash for nothing."""
    line = " ".join(text.split())
    return "--" if line == words.NONE else MARKS.sub(_escaped, line)


def _escaped(found: re.Match[str]) -> str:
    if found["reach"]:
        return r"$\pm$"
    return "$-$" if found["minus"] else SPECIAL[found["special"]]
