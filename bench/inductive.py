"""Rows of transductive norm get another beside them: the same weights, tested inductively."""

from collections.abc import Sequence
from dataclasses import replace

from bench.cell import Norm, digest
from bench.variant import Variant


def with_inductive(variants: Sequence[Variant]) -> list[Variant]:
    """Add the same weights, tested inductively, beside each row of transductive norm.

    The norm is the method's own. Gradient steps diverge under running statistics, which do not
    follow them (Bronskill et al. 2020, arXiv:2003.03284): such methods take the support's.
    """
    from bench.contract import AbstractMeta

    known = {digest(one.identity) for one in variants}
    rows: list[Variant] = []
    for one in variants:
        rows.append(one)
        if one.tested_norm == "transductive":
            meta = one.plugins["meta"]
            assert isinstance(meta, AbstractMeta)
            own: Norm = "support" if meta.norm == "support" else "running"
            made = replace(one, beside=one.label, control="", added=False, tested_norm=own)
            if "metatrain" not in one.phases:  # then no training has seen the norm
                made = replace(made, norm=own)
            if digest(made.identity) not in known:
                rows.append(replace(made, label=f"{one.label}, {own} statistics"))
    return rows
