"""One door for the logs of all dialers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from quietdial.envs.dialer_logs.days import FORMATS, LogFormat, RecordedDays
from quietdial.envs.dialer_logs.ours import read_records
from quietdial.envs.errors import CalibrationError


def read_logs(
    paths: str | Path | Sequence[str | Path],
    format: Literal["auto"] | LogFormat = "auto",
    *,
    time_zone: str = "Europe/Rome",
    campaign: str | None = None,
) -> RecordedDays:
    """Read the recorded days of one campaign, whatever dialer recorded them.

    Args:
        paths: files, or folders whose files are taken.
        format: `records` (our own Parquet files), `vicidial` (exported tables), `asterisk`
            (queue_log and CDR), or `auto`: told by the files.
        time_zone: of local times in the files, IANA name; our own records know theirs.
        campaign: campaign (VICIdial) or queue (Asterisk) to take; needed when there are several.

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
    if len(chosen) != 1 or not chosen[0].is_dir():
        raise CalibrationError(f"{chosen[0]}: give one folder of records")
    return read_records(chosen[0])
