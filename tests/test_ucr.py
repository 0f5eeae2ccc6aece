"""The UCR archive: what is read, filled in and left out, and every mistake named."""

import math
from pathlib import Path

import numpy as np
import pytest

from bench.data.ucr import Ucr
from bench.dataset import Dataset, open_dataset
from bench.errors import UserError

NAN = "NaN"
Rows = list[list[object]]


def write_half(root: Path, half: str, rows: Rows, name: str = "Made") -> Path:
    """Write one file of a set: rows of a label and values."""
    file = root / "UCRArchive_2018" / name / f"{name}_{half}.tsv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return file


def plain_rows(labels: list[int], first: int = 0, steps: int = 6) -> Rows:
    """Return one series for each label, all different."""
    return [
        [label, *((first + number + 1) * step**2 % 17 + label for step in range(steps))]
        for number, label in enumerate(labels)
    ]


def made(root: Path, *, labels: tuple[int, ...] = (1, 2, 3, 4)) -> Path:
    """Write a set with four series a class, half of them in each file; return its root."""
    write_half(root, "TRAIN", plain_rows([*labels, *labels]))
    write_half(root, "TEST", plain_rows([*labels, *labels], first=20))
    return root


def opened(root: Path, least: int = 2, **params: object) -> Dataset:
    """Read the set that was written."""
    return open_dataset(Ucr(set="Made", least=least, **params), "ucr", root)  # type: ignore[arg-type]


def refusal(root: Path | None, least: int = 2, **params: object) -> str:
    """Return the message of the one error that reading raises."""
    named = {"set": "Made", "least": least, **params}
    with pytest.raises(UserError) as caught:
        open_dataset(Ucr(**named), "ucr", root)  # type: ignore[arg-type]
    return str(caught.value)


def values_of(root: Path, row: list[object], **params: object) -> np.ndarray:
    """Return how one series is read: a class of its own, twice, beside others."""
    write_half(root, "TRAIN", [[9, *row], [9, *row], *plain_rows([1, 1, 2, 2], steps=len(row))])
    write_half(root, "TEST", plain_rows([3, 3], first=5, steps=len(row)))
    source = Ucr(set="Made", least=2, **params)  # type: ignore[arg-type]
    found: np.ndarray = source.read(root).arrays["9"][0, 0]
    return found


# --- what is read -------------------------------------------------------------------------------


def test_both_halves_are_put_together(tmp_path: Path) -> None:
    """A class holds its series of both files, float32 [1, T], and the split is of classes."""
    dataset = opened(made(tmp_path))
    assert dataset.examples.shape == (16, 1, 6)
    assert dataset.examples.dtype == np.float32
    assert dataset.counts == (4, 4, 4, 4)
    assert sorted(sum(dataset.splits.values(), ())) == ["1", "2", "3", "4"]
    assert dataset.form.modality == "series"
    assert dataset.notes == ()


def test_the_order_of_files_and_lines_does_not_matter(tmp_path: Path) -> None:
    """What was TRAIN as TEST, lines the other way round: the same digest."""
    first = opened(made(tmp_path / "one"))
    labels = [1, 2, 3, 4] * 2
    write_half(tmp_path / "two", "TEST", plain_rows(labels)[::-1])
    write_half(tmp_path / "two", "TRAIN", plain_rows(labels, first=20))
    assert opened(tmp_path / "two").digest == first.digest


def test_classes_sort_as_their_numbers(tmp_path: Path) -> None:
    """Labels become text of one width, negative ones first."""
    assert opened(made(tmp_path / "a", labels=(2, 10, 1, 100))).classes != ()
    names = sorted(sum(opened(tmp_path / "a").splits.values(), ()))
    assert names == ["001", "002", "010", "100"]
    made(tmp_path / "b", labels=(-1, 1, 2))
    assert sorted(sum(opened(tmp_path / "b").splits.values(), ())) == ["-1", "01", "02"]


def test_a_series_is_standardised_unless_it_is_not_to_be(tmp_path: Path) -> None:
    """Mean 0 and deviation 1 by T - 1, as the archive's sets come; or the values as they stand."""
    row: list[object] = [1, 2, 4, 8, 10.5]
    mean = 25.5 / 5
    deviation = math.sqrt(sum((float(str(v)) - mean) ** 2 for v in row) / 4)
    expected = [(float(str(v)) - mean) / deviation for v in row]
    np.testing.assert_allclose(values_of(tmp_path, row), expected, rtol=1e-6)
    np.testing.assert_array_equal(values_of(tmp_path, row, normalise=False), [1, 2, 4, 8, 10.5])


def test_equal_values_become_zeros(tmp_path: Path) -> None:
    """A flat series has no deviation to divide by; not even its rounding is blown up."""
    assert not values_of(tmp_path, [0.1] * 7).any()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1, NAN, 3, NAN, NAN, 9], [1, 2, 3, 5, 7, 9]),
        ([NAN, 2, 3, 1, NAN, NAN], [2, 2, 3, 1, 1, 1]),
        ([NAN, NAN, 2, "nan", 4, 5], [2, 2, 2, 3, 4, 5]),
    ],
)
def test_missing_values_are_filled_in(
    tmp_path: Path, row: list[object], expected: list[float]
) -> None:
    """Between two values linearly, at the ends by the nearest."""
    np.testing.assert_array_equal(values_of(tmp_path, row, normalise=False), expected)


def test_what_is_filled_in_is_counted(tmp_path: Path) -> None:
    """A note says how many values of how many series were missing."""
    values_of(tmp_path, [1, NAN, 3, NAN, NAN, 9])
    (note,) = opened(tmp_path).notes
    assert note.startswith("6 values in 2 of 8 series are missing and are filled in")


def test_filled_in_values_do_not_count_for_the_scale(tmp_path: Path) -> None:
    """A short series is standardised by its own values; the end that is held has no say."""
    short = values_of(tmp_path / "a", [1, 2, 4, NAN, NAN, NAN])
    whole = values_of(tmp_path / "b", [1, 2, 4])
    np.testing.assert_array_equal(short[:3], whole)
    np.testing.assert_array_equal(short[3:], [whole[2]] * 3)


def test_series_are_resampled_linearly(tmp_path: Path) -> None:
    """First and last value stay, those between lie on straight lines; fewer or more steps."""
    row: list[object] = [0, 7, 14, 0, 7, 7, 0, 7]
    more = values_of(tmp_path / "a", row, normalise=False, length=15)
    np.testing.assert_array_equal(more[::2], row)
    np.testing.assert_array_equal(more[1::2], [3.5, 10.5, 7, 3.5, 7, 3.5, 3.5])
    fewer = values_of(tmp_path / "b", [*row, *row[::-1], 3], normalise=False, length=9)
    np.testing.assert_array_equal(fewer, [*row, *row[::-1], 3][::2])


def test_small_classes_are_left_out_and_counted(tmp_path: Path) -> None:
    """Classes of fewer series than ``least``, one of a single series too, are named in a note."""
    made(tmp_path)
    write_half(tmp_path, "TEST", plain_rows([1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 6], first=20))
    dataset = opened(tmp_path, least=4)
    assert sorted(dataset.classes) == ["1", "2", "3", "4"]
    (note,) = dataset.notes
    expected = "2 of 6 classes hold fewer than 4 series and are left out: 5, 6"
    assert note == expected


def test_listed_splits_are_followed(tmp_path: Path) -> None:
    """Lists decide, classes on none are left out, and so are listed ones that are too small."""
    made(tmp_path)
    write_half(tmp_path, "TEST", plain_rows([1, 2, 3, 4, 5, 1, 2, 3, 4], first=20))
    for split, text in {"train": "4\n5\n", "val": "\n2\n", "test": "1\n"}.items():
        (tmp_path / f"{split}.txt").write_text(text)
    dataset = opened(tmp_path, splits=str(tmp_path))
    assert dataset.splits == {"train": ("4",), "val": ("2",), "test": ("1",)}


# --- mistakes -----------------------------------------------------------------------------------


def test_a_missing_archive_says_where_it_belongs(tmp_path: Path) -> None:
    """Without a root folder, or without the archive in it, the message says what to unpack."""
    assert "no root folder is set. Unpack UCRArchive_2018.zip of https://" in refusal(None)
    found = refusal(tmp_path)
    assert f"UCRArchive_2018 is not in {tmp_path}. Unpack" in found
    assert "BENCH_DATA=FOLDER" in found


def test_an_unknown_set_is_told_from_those_found(tmp_path: Path) -> None:
    """A near name is suggested; else those that are there are listed."""
    made(tmp_path)
    write_half(tmp_path, "TRAIN", [[1, 2]], name="Other")
    assert "no set 'Mode' in" in refusal(tmp_path, set="Mode")
    assert refusal(tmp_path, set="Mode").endswith("Did you mean Made?")
    assert refusal(tmp_path, set="Wafer").endswith("Known: Made, Other.")


def test_a_half_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A set has two files."""
    write_half(tmp_path, "TRAIN", plain_rows([1, 2, 3]))
    found = refusal(tmp_path)
    assert "Made_TEST.tsv: there is no such file. Unpack the archive anew." in found


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    """No line, or blank ones alone, is no half of a set."""
    made(tmp_path)
    write_half(tmp_path, "TEST", []).write_text(text)
    assert "Made_TEST.tsv: it is empty. Unpack the archive anew." in refusal(tmp_path)


def bad_row(root: Path, row: list[object]) -> str:
    """Return what is said of a row that stands third in TRAIN."""
    made(root)
    file = write_half(root, "TRAIN", [*plain_rows([1, 2]), row, *plain_rows([3, 4])])
    found = refusal(root)
    assert found.startswith(f"data ucr: {file}:3")
    return found


def test_lines_of_unequal_length_are_refused(tmp_path: Path) -> None:
    """Both lines are named, and how an end that is missing is written."""
    found = bad_row(tmp_path, [1, 2, 3])
    assert ":3: 2 values, but data ucr: " in found
    assert "Made_TRAIN.tsv:1 has 6. All lines of a set have as many columns, with NaN" in found


def test_text_is_refused(tmp_path: Path) -> None:
    """Line, column and what stands there."""
    found = bad_row(tmp_path, [1, 2, "3,5", 4, 5, 6, 7])
    assert ":3, column 3: '3,5' is no number. Write a number, or NaN" in found


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e39"])
def test_infinite_values_are_refused(tmp_path: Path, value: str) -> None:
    """Neither infinity nor what float32 cannot hold is a value."""
    found = bad_row(tmp_path, [1, 2, 3, value, 5, 6, 7])
    assert f":3, column 4: '{value}' is too large. Write a finite number" in found


@pytest.mark.parametrize("label", ["1.5", "nan"])
def test_a_label_is_a_whole_number(tmp_path: Path, label: str) -> None:
    """What is no whole number names no class; ``2.0`` does."""
    found = bad_row(tmp_path, [label, 2, 3, 4, 5, 6, 7])
    assert f"the label is '{label}'. A line begins with its class, a whole number." in found


@pytest.mark.parametrize(("row", "count"), [([NAN] * 6, 0), ([NAN, 2, *[NAN] * 4], 1)])
def test_a_series_of_missing_values_is_refused(
    tmp_path: Path, row: list[object], count: int
) -> None:
    """One value alone has no course."""
    found = bad_row(tmp_path, [1, *row])
    assert f":3: {count} of its 6 values are numbers. A series needs two" in found


def test_columns_that_are_not_parted_by_tabs_are_refused(tmp_path: Path) -> None:
    """The comma of older copies of the archive makes one column of all."""
    made(tmp_path)
    write_half(tmp_path, "TRAIN", []).write_text("1,2,3,4\n")
    assert "Made_TRAIN.tsv:1, column 1: '1,2,3,4' is no number" in refusal(tmp_path)
    write_half(tmp_path, "TRAIN", []).write_text("1\n")
    assert ":1: 0 values. A line is a class and two values or more" in refusal(tmp_path)


def test_too_few_classes_say_which_least_would_do(tmp_path: Path) -> None:
    """Three classes are needed; the third largest decides."""
    made(tmp_path)
    write_half(tmp_path, "TEST", plain_rows([1, 1, 1, 2, 2, 3], first=20))
    found = refusal(tmp_path, least=4)
    assert "data ucr: Made: 2 of 4 classes hold 4 series or more." in found
    assert found.endswith("one for each split: least is to be 3 or lower.")


def test_a_set_of_two_classes_cannot_be_split(tmp_path: Path) -> None:
    """Most sets of the archive are of two classes: no ``least`` would help."""
    found = refusal(made(tmp_path, labels=(1, 2)))
    assert "2 of 2 classes hold 2 series or more" in found
    assert found.endswith("take another set.")


def test_a_listed_split_that_is_left_empty_is_named(tmp_path: Path) -> None:
    """Where all classes of a list are too small, the list and ``least`` are named."""
    made(tmp_path)
    write_half(tmp_path, "TEST", plain_rows([1, 2, 3, 4, 5, 1, 2, 3, 4], first=20))
    for split, text in {"train": "4\n", "val": "2\n", "test": "5\n"}.items():
        (tmp_path / f"{split}.txt").write_text(text)
    found = refusal(tmp_path, splits=str(tmp_path))
    assert f"{tmp_path / 'test'}.txt: none of its classes holds 2 series or more" in found


def test_a_listed_class_that_is_not_there_is_named(tmp_path: Path) -> None:
    """File, line, and the classes that there are."""
    made(tmp_path, labels=(1, 2, 3, 12))
    for split, text in {"train": "01\n1\n", "val": "02\n", "test": "03\n"}.items():
        (tmp_path / f"{split}.txt").write_text(text)
    found = refusal(tmp_path, splits=str(tmp_path))
    assert "train.txt:2: there is no class '1'. Did you mean" in found


# --- the real archive ---------------------------------------------------------------------------

REAL = [  # set, parameters, classes in train, val and test, first half of the digest
    ("FiftyWords", {}, (8, 2, 3), "67247e1b6688"),
    ("FiftyWords", {"least": 6}, (32, 8, 10), "1790b87b5777"),
    ("Adiac", {}, (24, 6, 7), "b513652b1ad3"),
    ("CricketX", {"length": 128}, (8, 2, 2), "59f4947af172"),
    ("Crop", {}, (15, 4, 5), "e99d5b1f7a23"),
]


@pytest.mark.parametrize(("name", "params", "classes", "digest"), REAL)
def test_real_sets_are_what_they_were(
    real_data: Path,
    name: str,
    params: dict[str, int],
    classes: tuple[int, int, int],
    digest: str,
) -> None:
    """Classes of each split, and the digest, of sets of the archive."""
    if not (real_data / "UCRArchive_2018" / name).is_dir():
        pytest.skip(f"{name} is not on this machine")
    dataset = open_dataset(Ucr(set=name, **params), "ucr", real_data)  # type: ignore[arg-type]
    assert tuple(len(names) for names in dataset.splits.values()) == classes
    assert dataset.digest.startswith(digest)


def test_fifty_words_has_thirteen_classes_of_twenty(real_data: Path) -> None:
    """The other 37 are left out, and the note says so."""
    if not (real_data / "UCRArchive_2018" / "FiftyWords").is_dir():
        pytest.skip("FiftyWords is not on this machine")
    dataset = open_dataset(Ucr(set="FiftyWords"), "ucr", real_data)
    assert len(dataset.classes) == 13
    assert min(dataset.counts) >= 20
    (note,) = dataset.notes
    assert note.startswith("37 of 50 classes hold fewer than 20 series")
