"""The audit of a row: does a prediction depend on other queries, or on how classes are numbered?"""

from bench.cell import StageSpec
from bench.stages.place import Place, Result


def audit_row(spec: StageSpec, place: Place) -> Result:
    """Run one ``audit`` stage of a row."""
    raise NotImplementedError("the audit of a row is not written yet")
