"""Tables of text from strangers: bounded, never evaluated, a bad line named by file and number."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from quietdial.envs.errors import CalibrationError

MAX_FILE_BYTES: Final = 4 * 1024**3
"""Largest file, unpacked, in bytes."""
MAX_LINE_BYTES: Final = 65_536
MAX_ROWS: Final = 10_000_000
MAX_COLUMNS: Final = 400
NONE: Final = frozenset(("", "NULL", "\\N"))
"""How exports write that there is no value."""

_WHOLE = re.compile(r"-?[0-9]{1,18}\Z", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{0,12})?\Z", re.ASCII)
_ESCAPES: Final = {"\\t": "\t", "\\n": "\n", "\\0": "\0", "\\\\": "\\"}
_ESCAPE = re.compile(r"\\[tn0\\]")


def refuse(path: Path, line: int, what: str) -> NoReturn:
    """Raise the error of a bad line."""
    raise CalibrationError(f"{path}: line {line}: {what}")


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file, also of a gzipped one, with their ends.

    Text is UTF-8; a byte that is not (old databases hold names in Latin-1) becomes a mark.

    Raises:
        CalibrationError: the file cannot be read, or it or a line is too long.
    """
    if not path.is_file():
        raise CalibrationError(f"{path}: there is no such file")
    total = number = 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as stream:
            while True:
                line = stream.readline(MAX_LINE_BYTES + 1)
                if not line:
                    return
                number += 1
                total += len(line)
                if len(line) > MAX_LINE_BYTES:
                    refuse(path, number, f"longer than the {MAX_LINE_BYTES} bytes allowed")
                if total > MAX_FILE_BYTES or number > MAX_ROWS:
                    refuse(
                        path,
                        number,
                        f"the file has more than {MAX_ROWS} lines or {MAX_FILE_BYTES >> 30} GiB; "
                        "export fewer days at a time",
                    )
                text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
                yield text
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CalibrationError(f"{path}: cannot be read: {reason}") from error


@dataclass
class TextTable:
    """A table with a header line.

    Attributes:
        path: where it is from.
        columns: values by column name, all of the same length.
        lines: number of the line on which each row ends.
        n_cut: 1 if the last line was cut off in the middle and left out, else 0.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int] = field(default_factory=list)
    n_cut: int = 0

    def __len__(self) -> int:
        """Rows."""
        return len(self.lines)

    def has(self, *names: str) -> bool:
        """Whether the file has all of these columns."""
        return all(name in self.columns for name in names)

    def text(self, name: str, row: int) -> str:
        """A value; "" where the file has none or no such column."""
        values = self.columns.get(name)
        if values is None:
            return ""
        value = values[row]
        return "" if value in NONE else value

    def whole(self, name: str, row: int) -> int | None:
        """A whole number, or None where there is no value."""
        text = self.text(name, row)
        if not text:
            return None
        if not _WHOLE.match(text):
            refuse(self.path, self.lines[row], f"{name} = {text!r:.40} is not a whole number")
        return int(text)

    def count(self, name: str, row: int, most: int = 10**7) -> int | None:
        """A whole number of at least 0, or None; a time in seconds is at most 115 days."""
        number = self.whole(name, row)
        if number is not None and not 0 <= number <= most:
            refuse(
                self.path,
                self.lines[row],
                f"{name} = {number} is not between 0 and {most}",
            )
        return number

    def decimal(self, name: str, row: int) -> float | None:
        """A decimal number of at least 0, or None where there is no value."""
        text = self.text(name, row)
        if not text:
            return None
        if not _DECIMAL.match(text) or text.startswith("-"):
            what = f"{name} = {text!r:.40} is not a number of at least 0"
            refuse(self.path, self.lines[row], what)
        return float(text)


def header_of(path: Path) -> tuple[str, ...]:
    """The names in the first line of a table, in lower case, or () if it has no header."""
    first = next(lines_of(path), "")
    names = _split_header(first.rstrip("\r\n"))
    is_header = all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) for name in names)
    return tuple(name.lower() for name in names) if is_header and len(names) > 1 else ()


def read_table(path: Path, wanted: Sequence[str], needed: Sequence[str]) -> TextTable:
    """Read some columns of a table with a header: CSV, or tabs as `mysql --batch` prints them.

    Args:
        path: the file, also gzipped.
        wanted: columns to take if they are there.
        needed: columns that must be there.

    Raises:
        CalibrationError: a column is missing, a row has another number of columns than the header.
    """
    lines = lines_of(path)
    head = next(lines, "")
    names = [name.lower() for name in _split_header(head.rstrip("\r\n"))]
    missing = [name for name in needed if name not in names]
    if missing or not head:
        found = ", ".join(names[:40]) or "none"
        raise CalibrationError(
            f"{path}: column {missing[0]!r} is missing; the columns are: {found}"
        )
    if len(names) > MAX_COLUMNS or len(set(names)) < len(names):
        raise CalibrationError(f"{path}: the header names a column twice, or more than 400 columns")
    places = [(name, names.index(name)) for name in wanted if name in names]
    table = TextTable(path, {name: [] for name, _ in places})
    separator = _separator(head)
    rows = _tabbed(lines) if separator == "\t" else _quoted(path, lines, separator)
    n_columns = len(names)
    for number, row, is_whole in rows:
        if len(row) != n_columns:
            if row == [""]:
                continue
            if not is_whole:
                table.n_cut = 1
                break
            refuse(path, number, f"{len(row)} columns, but the header has {n_columns}")
        table.lines.append(number)
        for name, place in places:
            table.columns[name].append(row[place])
    return table


def _separator(head: str) -> str:
    return max("\t,;", key=head.count)


def _split_header(head: str) -> list[str]:
    try:
        return next(csv.reader([head], delimiter=_separator(head)), [])
    except csv.Error:
        return []


def _tabbed(lines: Iterator[str]) -> Iterator[tuple[int, list[str], bool]]:
    """Rows as `mysql --batch` prints them: tabs between, backslashes before what would confuse."""
    for number, line in enumerate(lines, start=2):
        text = line.rstrip("\r\n")
        row = text.split("\t")
        if "\\" in text:
            row = [
                value if value == "\\N" else _ESCAPE.sub(lambda m: _ESCAPES[m.group()], value)
                for value in row
            ]
        yield number, row, line.endswith("\n")


def _quoted(
    path: Path, lines: Iterator[str], separator: str
) -> Iterator[tuple[int, list[str], bool]]:
    last = [True]

    def watched() -> Iterator[str]:
        for line in lines:
            last[0] = line.endswith("\n")
            yield line

    reader = csv.reader(watched(), delimiter=separator)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            refuse(path, reader.line_num + 1, f"not CSV: {error}")
        yield reader.line_num + 1, row or [""], last[0]


def quoted_rows(path: Path) -> Iterator[tuple[int, list[str], bool]]:
    """Rows of a CSV file without a header: number of the line, values, whether it is whole."""
    for number, row, is_whole in _quoted(path, lines_of(path), ","):
        yield number - 1, row, is_whole


def as_columns(rows: Sequence[Any], names: Sequence[str]) -> dict[str, list[Any]]:
    """Attributes of objects as lists by name."""
    return {name: [getattr(row, name) for row in rows] for name in names}
