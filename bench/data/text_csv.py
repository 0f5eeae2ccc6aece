"""A user's own sentences: one CSV file with a column of texts and one of labels."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from bench.contract import AbstractData, Examples
from bench.dataset import SPLITS
from bench.errors import UserError, suggest
from bench.splits import by_hash
from bench.tokenise import Length, Vocabulary, tokenised

FEWEST = 3  # classes: one for each split


@dataclass(frozen=True, kw_only=True)
class TextCsv(AbstractData):
    """Sentences of a CSV file in UTF-8, a row each, under a header that names the columns.

    The split: the column that ``split`` names says train, val or test of each row, and all rows
    of a class say the same; so one can train on the classes of one domain and test on those of
    another. Else classes are sorted by the hash of their names, and the first 16 % are val, the
    next 20 % test, the rest train. A relative path starts from the root folder where one is set,
    else from the working folder.
    """

    reference: ClassVar[str] = "doi:10.1109/ICASSP.2012.6289079"  # of how sentences are cut up
    modality: ClassVar[str] = "text"
    encoder: ClassVar[str] = "transformer"
    augment: ClassVar[str] = "word_dropout"
    path: str
    text: str = "text"  # names of columns
    label: str = "label"
    split: str | None = None
    delimiter: Literal[",", ";", "\t"] = ","
    vocabulary: Vocabulary = 4000  # as for clinc150
    length: Length = 24  # tokens
    called: str | None = None  # what reports call it, in the place of text_csv

    @property
    def title(self) -> str | None:
        """What reports call it: files in one suite need names of their own."""
        return self.called

    def read(self, root: Path | None) -> Examples:
        """Read every row."""
        file = self._found(root)
        rows = list(self._rows(file))
        sentences: dict[str, list[str]] = {}
        lines: dict[str, int] = {}  # where each class is met first
        for line, text, label, _ in rows:
            sentences.setdefault(label, []).append(text)
            lines.setdefault(label, line)
        _check_sizes(file, sentences, lines)
        splits = by_hash(sentences) if self.split is None else _given(file, rows)
        ordered = {name: sentences[name] for name in sorted(sentences)}
        return tokenised(ordered, splits, vocabulary=self.vocabulary, length=self.length)

    def fingerprint(self, root: Path | None) -> str:
        """Return the size and the time of the file."""
        seen = self._found(root).stat()
        return f"{seen.st_size}-{seen.st_mtime_ns}"

    def _found(self, root: Path | None) -> Path:
        file = (root or Path()) / Path(self.path).expanduser()
        if not file.is_file():
            works = "Name a CSV file with a column of texts and one of labels."
            raise UserError("data text_csv", f"no file {file.absolute()}", works)
        return file

    def _rows(self, file: Path) -> Iterator[tuple[int, str, str, str]]:
        """Yield the line (on which it ends), text, label and split of each row."""
        content = io.StringIO(_text_of(file), newline="")  # quoted line breaks are csv's to read
        reader = csv.reader(content, delimiter=self.delimiter, strict=True)
        places: list[int] = []
        header: list[str] = []
        try:
            for row in reader:
                if not row:
                    continue  # an empty line
                if not header:
                    header, places = row, [self._place(file, row, name) for name in self._columns()]
                    continue
                yield reader.line_num, *_values(file, reader.line_num, row, header, places)
        except csv.Error as error:
            works = "Put a text with quotes or line breaks in quotes, and double those within it."
            raise _mistake(file, reader.line_num, f"it is not CSV ({error})", works) from error
        if not header:
            raise _mistake(file, 1, "the file is empty", "Its first line names the columns.")

    def _columns(self) -> list[str]:
        return [self.text, self.label, *([] if self.split is None else [self.split])]

    def _place(self, file: Path, header: Sequence[str], name: str) -> int:
        """Return which column has a name."""
        if header.count(name) != 1:
            found = f"{header.count(name) or 'no'} columns are called {name!r}"
            named = f"the header is {self.delimiter.join(header)!r}"
            works = f"{suggest(name, header)} Set text, label and split to names of columns."
            raise _mistake(file, 1, f"{found}: {named}", works)
        return header.index(name)


def _text_of(file: Path) -> str:
    """Return the content of a file, without a mark of byte order."""
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{content[error.start]:02x} is not UTF-8"
        raise _mistake(file, line, found, "Save the file as UTF-8.") from error


def _values(
    file: Path, line: int, row: Sequence[str], header: Sequence[str], places: Sequence[int]
) -> tuple[str, str, str]:
    """Return text, label and split (or nothing) of one row."""
    if len(row) != len(header):
        found = f"{len(row)} values, under a header of {len(header)}"
        works = "Have a value for each column, in quotes where it holds a delimiter."
        raise _mistake(file, line, found, works)
    text, label, split = (*(row[place].strip() for place in places), "")[:3]
    for name, value in (("text", text), ("label", label)):
        if not value:
            raise _mistake(file, line, f"the {name} is empty", "Fill it in, or remove the row.")
    if len(places) == 3 and split not in SPLITS:
        works = suggest(split, SPLITS)
        raise _mistake(file, line, f"the split is {split!r}", works)
    return text, label, split


def _check_sizes(
    file: Path, sentences: Mapping[str, Sequence[str]], lines: Mapping[str, int]
) -> None:
    """Refuse a class of one example, and fewer classes than splits."""
    for name, each in sentences.items():
        if len(each) < 2:
            works = "A task needs two or more: add some, or remove the class."
            raise _mistake(file, lines[name], f"class {name!r} has one example", works)
    if len(sentences) < FEWEST:
        found = f"{len(sentences)} classes"
        works = "At least three are needed, one for each of train, val and test."
        raise UserError(f"data text_csv: {file}", found, works)


def _given(file: Path, rows: Sequence[tuple[int, str, str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the classes of each split, as the rows say."""
    first: dict[str, tuple[int, str]] = {}
    for line, _, label, split in rows:
        before, other = first.setdefault(label, (line, split))
        if other != split:
            found = f"class {label!r} is in {split}, and on line {before} in {other}"
            works = "A class is in one split: give it another name in each domain, or one split."
            raise _mistake(file, line, found, works)
    splits = {
        split: tuple(sorted(label for label, (_, one) in first.items() if one == split))
        for split in SPLITS
    }
    for split, names in splits.items():
        if not names:
            found = f"no row says {split}"
            raise UserError(f"data text_csv: {file}", found, "Each of train, val, test needs some.")
    return splits


def _mistake(file: Path, line: int, found: str, works: str) -> UserError:
    return UserError(f"data text_csv: {file}:{line}", found, works)
