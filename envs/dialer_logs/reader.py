"""One door for the logs of all dialers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from quietdial.envs.dialer_logs import cdr, queue_log, vicidial
from quietdial.envs.dialer_logs.asterisk import read_asterisk
from quietdial.envs.dialer_logs.days import FORMATS, LogFormat, RecordedDays
from quietdial.envs.dialer_logs.ours import read_records
from quietdial.envs.dialer_logs.text import header_of, lines_of, quoted_rows
from quietdial.envs.errors import CalibrationError

MAX_FILES: Final = 2000
RECORDS_FILE: Final = "calls.parquet"
_HELP: Final = (
    "allowed are a folder of quietdial records (calls.parquet), tables exported from VICIdial "
    "with a header line, Asterisk's queue_log and its CDR"
)


def read_logs(
    paths: str | Path | Sequence[str | Path],
    format: Literal["auto"] | LogFormat = "auto",
    *,
    time_zone: str = "Europe/Rome",
    campaign: str | None = None,
    context: str | None = None,
) -> RecordedDays:
    """Read the recorded days of one campaign, whatever dialer recorded them.

    Args:
        paths: files, or folders whose files are taken; files of a folder that are no log are left.
        format: `records` (our own Parquet files), `vicidial` (exported tables), `asterisk`
            (queue_log and CDR), or `auto`: told by the files.
        time_zone: of local times in the files, IANA name; our own records know theirs.
        campaign: campaign (VICIdial) or queue (Asterisk) to take; needed when there are several.
        context: Asterisk: `dcontext` of the dialer's rows of the CDR; None: all rows are its.

    Returns:
        The days in one form, see `RecordedDays`.

    Raises:
        CalibrationError: a file cannot be read; one line with the file, the line of the file,
            what is wrong and what is allowed.
        MissingExtraError: our own records need pyarrow.
    """
    chosen = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not chosen:
        raise CalibrationError("give at least one file or folder of recorded days")
    if format not in ("auto", *FORMATS):
        raise CalibrationError(f"format = {format!r} is not one of: auto, {', '.join(FORMATS)}")
    ours = [path for path in chosen if path.is_dir() and (path / RECORDS_FILE).is_file()]
    if ours or format == "records":
        if len(chosen) > 1 or format not in ("auto", "records"):
            raise CalibrationError(
                f"{chosen[0]}: give one folder of records, and nothing beside it"
            )
        folder = chosen[0].parent if chosen[0].name == RECORDS_FILE else chosen[0]
        return read_records(folder)
    if len(chosen) == 1 and chosen[0].name == RECORDS_FILE:
        return read_records(chosen[0].parent)
    kinds: list[tuple[str, Path]] = []
    for path, is_asked in _files(chosen):
        kind = _kind_of(path)
        if kind is None and is_asked:
            raise CalibrationError(f"{path}: is not a log that is known; {_HELP}")
        if kind is not None:
            kinds.append((kind, path))
    asterisk = [(kind, path) for kind, path in kinds if kind in _ASTERISK]
    tables = [(kind, path) for kind, path in kinds if kind not in _ASTERISK]
    if format == "vicidial":
        asterisk = []
    elif format == "asterisk":
        tables = []
    if not tables and not asterisk:
        raise CalibrationError(f"{chosen[0]}: holds no log that is known; {_HELP}")
    if tables and asterisk:
        raise CalibrationError(
            f"{tables[0][1]} is of VICIdial, {asterisk[0][1]} of Asterisk; give one --format"
        )
    if tables:
        return vicidial.read_vicidial(tables, time_zone=time_zone, campaign=campaign)
    return read_asterisk(
        [(path, kind == "queue table") for kind, path in asterisk if kind.startswith("queue")],
        [(path, kind == "cdr table") for kind, path in asterisk if kind.startswith("cdr")],
        time_zone=time_zone,
        campaign=campaign,
        context=context,
    )


def is_log(path: Path) -> bool:
    """Whether a path looks like recorded days; raises `CalibrationError` if it is unreadable."""
    if path.is_dir() or path.name == RECORDS_FILE:
        return True
    return _kind_of(path) is not None


_ASTERISK: Final = frozenset(("queue lines", "queue table", "cdr csv", "cdr table"))


def _files(chosen: Sequence[Path]) -> list[tuple[Path, bool]]:
    """Each file, and whether it was named itself."""
    files: list[tuple[Path, bool]] = []
    for path in chosen:
        if path.is_dir():
            try:
                inside = sorted(p for p in path.iterdir() if p.is_file())
            except OSError as error:
                raise CalibrationError(f"{path}: cannot be read: {error.strerror}") from error
            files += [(p, False) for p in inside if not p.name.startswith(".")]
        else:
            files.append((path, True))
    if len(files) > MAX_FILES:
        raise CalibrationError(f"{chosen[0]}: {len(files)} files; at most {MAX_FILES} are read")
    return files


def _kind_of(path: Path) -> str | None:
    """What a file is, told by its first line."""
    if path.name.endswith((".parquet", ".json", ".yaml", ".png", ".md")):
        return None
    first = next(lines_of(path), "")
    if queue_log.is_line(first):
        return "queue lines"
    header = header_of(path)
    if all(name in header for name in queue_log.COLUMNS):
        return "queue table"
    if cdr.is_header(header):
        return "cdr table"
    table = vicidial.kind_of(header)
    if table is not None or header:
        return table
    row: Sequence[str] = next((row for _, row, _ in quoted_rows(path)), [])
    return "cdr csv" if cdr.is_csv(row) else None
