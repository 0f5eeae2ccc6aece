"""What training on another set costs: pairs, numbers, families, sentences, figures; and means."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.cell import Cell, Json
from bench.report.analysis import analyse
from bench.report.comparison import blocks
from bench.report.figures.domains import domains_figures
from bench.report.gallery import Gallery
from bench.report.machine import Edition, report_json
from bench.report.results import Results, read_results
from bench.report.text import write_text
from bench.report.views.across_domains import Domains, across_domains
from bench.report.views.across_domains_text import answer, domains_table, sentences
from bench.report.views.data_sets import data_sets
from bench.statistics.verdict import holm
from tests.report.conftest import Bench

Make = Callable[..., Bench]
LOSS = {"simclr + maml": 0.2, "none + protonet": 0.1, "simclr + none": 0.0}  # by training elsewhere


def roles(train: str, test: str, pretrain: str = "") -> dict[str, str]:
    """Return the sets of the roles."""
    return {"pretrain": pretrain or train, "train": train, "test": test}


MOVED = {"prints to glyphs": roles("prints", "glyphs"), "scans to glyphs": roles("scans", "glyphs")}


def moved(
    results: Results,
    names: Mapping[str, Mapping[str, str]] = MOVED,
    params: Mapping[str, Json] | None = None,
) -> Results:
    """Add the rows of other training sets: the same but for a loss and noise of their own."""
    rng = np.random.default_rng(0)
    cells = list(results.cells)
    for data in names:
        for one in results.cells:
            loss = LOSS.get(one.cell.variant)
            noise = 0.0 if loss is None else rng.normal(loss, 0.01, one.accuracy_TE.shape)
            stages = {
                role: f"{key}{''.join(_read(names[data], role, one.cell))}"
                for role, key in one.cell.stages.items()
            }
            own = {**one.cell.params, **(params or {})}
            cell = replace(one.cell, data=data, stages=stages, params=own)
            moved = {"accuracy": one.accuracy_TE - noise}
            cells.append(replace(one, cell=cell, measured_TE=moved))
    settings = {**results.plan.settings, "roles": {key: dict(one) for key, one in names.items()}}
    return replace(results, plan=replace(results.plan, settings=settings), cells=tuple(cells))


def _read(sets: Mapping[str, str], role: str, cell: Cell) -> list[str]:
    """Return the sets besides glyphs that what a stage comes to was made with."""
    use = {"pretrain": "pretrain", "metatrain": "train"}
    of = [
        sets[use[one]]
        for one in use
        if one in cell.stages and (role, one) != ("pretrain", "metatrain")
    ]
    return [f" {at} {one}" for at, one in enumerate(of) if one != "glyphs"]


def results_of(bench: Bench) -> Results:
    """Build a bench and read it."""
    return read_results(*bench.build())


@pytest.fixture
def results(synthetic: Make) -> Results:
    """Return rows of glyphs, and of two other sets tested on glyphs, at one shot."""
    return moved(results_of(synthetic(shots=(1,))))


def one_setting(results: Results) -> Domains:
    """Return the one test set, ways and shots of some results."""
    (found,) = across_domains(blocks(results), results.plan)
    return found


def accuracy(results: Results, variant: str, data: str) -> np.ndarray:
    """Return a row's accuracies [S, E], read from its cells."""
    cells = [one for one in results.cells if (one.cell.variant, one.cell.data) == (variant, data)]
    return np.stack([one.accuracy_TE[-1] for one in sorted(cells, key=lambda one: one.cell.seed)])


def interval(d_SE: np.ndarray) -> tuple[float, float, float, float]:
    """Return mean, bounds and p of a crossed interval, by the two-way layout written out."""
    S, E = d_SE.shape
    mean = d_SE.mean()
    of_seeds = sum((row.mean() - mean) ** 2 for row in d_SE) / (S - 1) / S
    of_episodes = sum((column.mean() - mean) ** 2 for column in d_SE.T) / (E - 1) / E
    rest = sum(
        (d_SE[s, e] - d_SE[s].mean() - d_SE[:, e].mean() + mean) ** 2
        for s in range(S)
        for e in range(E)
    )
    residual = rest / ((S - 1) * (E - 1)) / (S * E)
    error = max(of_seeds + of_episodes - residual, of_seeds) ** 0.5
    reach = stats.t.ppf(0.975, S - 1) * error
    return mean, mean - reach, mean + reach, 2 * stats.t.sf(abs(mean) / error, S - 1)


def test_numbers_are_those_of_an_independent_computation(results: Results) -> None:
    """Means, crossed intervals of paired differences, and Holm over all pairs of the setting."""
    frame = domains_table(one_setting(results)).frame
    compared = frame[~frame.same_weights]
    p = []

    assert len(compared) == 3 * 2
    for row in compared.to_dict("records"):
        there = accuracy(results, row["variant"], f"{row['trained_on']} to glyphs")
        here = accuracy(results, row["variant"], "glyphs")
        mean, low, high, own = interval(there - here)
        p.append(own)
        assert row["elsewhere"] == pytest.approx(there.mean())
        assert row["here"] == pytest.approx(here.mean())
        assert [row[f"minus_difference{one}"] for one in ("", "_low", "_high")] == pytest.approx(
            [mean, low, high]
        )
    assert compared.minus_p.tolist() == pytest.approx(p)
    assert compared.minus_p_holm.tolist() == pytest.approx(holm(p))


def test_what_is_not_trained_is_not_compared(results: Results) -> None:
    """The floor is one and the same row wherever it is tested: shown, and in no family."""
    table = domains_table(one_setting(results))
    floors = [row for row in table.rows if row[0] == "random_init"]

    assert [row[2] for row in floors] == ["-"]
    assert {tuple(row[5:]) for row in floors} == {("-", "-", "same weights")}
    assert floors[0][3] == floors[0][4]


def test_sentences_are_made_from_verdicts(results: Results) -> None:
    """Each other set has a sentence a verdict; the first page leaves out what is undecided."""
    found = one_setting(results)

    said = sentences(found)
    begin = answer([found])

    assert any("**worse** trained on prints than on glyphs." in one for one in said)
    assert all(one.startswith("glyphs, 5-way 1-shot: ") for one in begin)
    assert not any("undecided" in one for one in begin)


def test_rows_that_differ_in_more_than_the_data_are_marked(synthetic: Make) -> None:
    """Another value of a parameter, such as a tuned one, stands beside the table."""
    params = {"meta.order": 2, "task.collisions": 0.5}
    own = moved(results_of(synthetic(shots=(1,))), params=params)
    found = one_setting(own)

    assert {one.differing for one in found.rows} == {("meta.order",)}
    assert all(row[0].endswith(" (!)") for row in domains_table(found).rows)
    text = write_text(analyse(own), Gallery(), "0" * 64).markdown
    assert "* (!) simclr + maml, trained on prints, also has other values of meta.order" in text


def test_rows_of_other_axes_are_not_paired(results: Results) -> None:
    """A row of the same name under another norm, encoder or labels is another row."""
    cells = tuple(
        replace(one, cell=replace(one.cell, encoder="resnet12"))
        if one.cell.data == "prints to glyphs" and one.cell.variant == "simclr + none"
        else one
        for one in results.cells
    )

    found = one_setting(replace(results, cells=cells))

    pairs = {(one.here.group.variant, one.source) for one in found.rows}
    assert ("simclr + none", "prints") not in pairs
    assert ("simclr + none", "scans") in pairs


def test_other_episodes_are_withheld(results: Results) -> None:
    """Rows that met another bank are not compared, as nowhere else."""
    cells = tuple(
        replace(one, manifest={**one.manifest, "bank": "other"})
        if one.cell.data == "prints to glyphs"
        else one
        for one in results.cells
    )

    rows = domains_table(one_setting(replace(results, cells=cells))).rows

    withheld = [row[-1] for row in rows if row[2] == "prints" and row[0] != "random_init"]
    assert len(withheld) == 3
    assert all("met other test episodes" in one for one in withheld)


def test_without_a_row_at_home_there_is_no_section(synthetic: Make) -> None:
    """Plain suites have none, nor those whose test set nothing was trained on."""
    plain = results_of(synthetic(shots=(1,)))
    away = moved(plain, {"prints to maps": roles("prints", "maps")})

    for one in (plain, away):
        assert across_domains(blocks(one), one.plan) == ()
        assert "Across domains" not in write_text(analyse(one), Gallery(), "0" * 64).markdown


def test_a_set_of_pretraining_alone_is_named(synthetic: Make) -> None:
    """Rows that were pre-trained elsewhere and tested at home are compared, too."""
    names = {"heap then glyphs": roles("glyphs", "glyphs", "heap")}
    found = one_setting(moved(results_of(synthetic(shots=(1,))), names))

    assert set(found.sources) == {"heap then glyphs", "heap"}
    assert {one.here.group.variant: one.source for one in found.rows} == {
        "random_init": "",
        "none + protonet": "glyphs",
        "simclr + maml": "heap then glyphs",
        "simclr + none": "heap",
    }


def test_a_training_is_compared_once(synthetic: Make) -> None:
    """Rows whose data differ in a set that none of their stages reads are one: no second test."""
    names = {
        "prints to glyphs": roles("prints", "glyphs"),
        "prints then glyphs": roles("glyphs", "glyphs", "prints"),
        "glyphs then prints to glyphs": roles("prints", "glyphs", "glyphs"),
    }
    found = one_setting(moved(results_of(synthetic(shots=(1,))), names))
    frame = domains_table(found).frame
    compared = frame[~frame.same_weights]

    assert sorted(zip(compared.variant, compared.trained_on, strict=True)) == [
        ("none + protonet", "prints"),
        ("simclr + maml", "glyphs then prints"),
        ("simclr + maml", "prints"),
        ("simclr + maml", "prints then glyphs"),
        ("simclr + none", "prints"),
    ]
    assert compared.minus_p_holm.tolist() == pytest.approx(holm(compared.minus_p.tolist()))
    assert {one.source for one in found.rows if not one.compared} == {"", "glyphs"}
    assert len(domains_figures([found])) == 1
    assert "of no row" not in " ".join(answer([found]))


def test_a_test_set_counts_once_among_data_sets(results: Results) -> None:
    """Glyphs tested after three trainings are one data set: there is nothing to pool."""
    assert data_sets(blocks(results), results.plan) == ()


def test_sets_trained_on_one_other_are_a_setting_of_their_own(synthetic: Make) -> None:
    """Two test sets after one training are pooled by themselves, apart from those at home."""
    names = {
        "prints to glyphs": roles("prints", "glyphs"),
        "prints to maps": roles("prints", "maps"),
        "maps": roles("maps", "maps"),
    }
    own = moved(results_of(synthetic(shots=(1,))), names)

    found = {one.source: one for one in data_sets(blocks(own), own.plan)}

    assert {source: [b.data for b in one.blocks] for source, one in found.items()} == {
        "": ["glyphs", "maps"],
        "prints": ["prints to glyphs", "prints to maps"],
    }
    assert found["prints"].title == "5-way 1-shot over 2 data sets, trained on prints"
    assert {one.slug for one in found.values()} == {"5way-1shot", "5way-1shot-from-prints"}


def test_the_report_shows_and_keeps_it(results: Results) -> None:
    """The table stands in the markdown, its numbers in report.json, and a figure is drawn."""
    found = analyse(results)
    report = write_text(found, Gallery(), "0" * 64)
    edition = Edition(revision=1, content_hash="0" * 64)

    kept = json.loads(report_json(found, report, edition, ()))
    pictures = domains_figures(found.domains)

    assert "## Across domains" in report.markdown
    assert len(kept["tables"]["across-domains-glyphs-5way-1shot"]) == 3 * 2 + 1  # the floor once
    assert kept["settings"]["roles"] == MOVED
    assert [one.name for one in pictures] == ["across-domains-glyphs-5way"]
    assert "trained on prints" in pictures[0].svg.decode()
    names = [table.name for table in report.tables]
    assert not [name for name in names if " " in name]
    assert "accuracy-prints-to-glyphs-5way-1shot" in names


def test_the_method_says_what_was_trained_and_tested(results: Results) -> None:
    """Ready for a paper: sets that were tested on, and which splits the roles saw."""
    text = write_text(analyse(results), Gallery(), "0" * 64).markdown

    assert "drawn from the test classes of glyphs;" in text
    assert "Under prints to glyphs, pre-training saw the training split of prints" in text
