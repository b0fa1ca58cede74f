"""Reads our own records: the Parquet files of `quietdial simulate --records`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.dialer_logs.days import (
    AGENT_COLUMNS,
    CALL_COLUMNS,
    RecordedDay,
    RecordedDays,
    Table,
    split_at,
)
from quietdial.envs.errors import CalibrationError, ConfigError
from quietdial.envs.records import AGENTS, CALLS
from quietdial.envs.wall_clock import WallClock

_TIMES: Final = tuple(
    column.name
    for column in (*CALLS, *AGENTS)
    if column.kind == "ms" and column.name.endswith("_ms")
)
_LENGTHS: Final = frozenset(("waited_ms", "talk_ms", "wrap_ms", "machine_ms"))
"""Columns that are lengths of time and not moments."""


def read_records(folder: Path) -> RecordedDays:
    """Read a folder of records: every session of every episode becomes a day.

    Raises:
        CalibrationError: the folder holds no records, or none of a call.
        MissingExtraError: pyarrow is not installed.
    """
    from quietdial.envs.record_files import AGENTS_FILE, CALLS_FILE, read_columns, read_source

    try:
        scenario = read_source(folder).scenario
        calls = read_columns(folder / CALLS_FILE, ("campaign", *CALL_COLUMNS))
        agents = read_columns(folder / AGENTS_FILE, ("campaign", *AGENT_COLUMNS))
    except (ConfigError, KeyError) as error:
        raise CalibrationError(str(error)) from None
    if not len(calls["campaign"]):
        raise CalibrationError(f"{folder}: the records hold no call")
    clock = WallClock(scenario)
    opens = [session.open_ms for session in clock.sessions]
    zone = scenario.episode.time_zone if clock.has_date else "UTC"
    days: list[RecordedDay] = []
    counted = {
        "calls": len(calls["campaign"]),
        "stretches of agents": len(agents["campaign"]),
        "calls still going on at the end": int(calls["censored"].sum()),
        "stretches cut at the opening of the next day": 0,
    }
    for episode in np.unique(calls["campaign"]).tolist():
        mine = _of_episode(calls, CALL_COLUMNS, episode)
        states = _of_episode(agents, AGENT_COLUMNS, episode)
        call_day = clock.session_of(mine["dialed_ms"])
        stretches, agent_day, n_cut = split_at(Table("agents", states), "from_ms", "to_ms", opens)
        counted["stretches cut at the opening of the next day"] += n_cut
        for number, session in enumerate(clock.sessions):
            table = _rebased(mine, call_day == number, session.open_ms, "dialed_ms")
            parts = _rebased(
                dict(stretches.columns), agent_day == number, session.open_ms, "from_ms"
            )
            length = session.close_ms - session.open_ms
            if len(parts["to_ms"]):
                length = max(length, int(parts["to_ms"].max()))
            days.append(
                RecordedDay(
                    label=f"episode {episode}" + (f", {session.date}" if session.date else ""),
                    date=session.date,
                    wall_s=float(session.wall_s),
                    utc_ms=int(clock.utc_ms(session.open_ms)) if clock.has_date else None,
                    length_ms=length,
                    calls=_table("calls", table),
                    agents=_table("agents", parts),
                    time_zone=zone,
                )
            )
    files = tuple(str(folder / name) for name in (CALLS_FILE, AGENTS_FILE))
    return RecordedDays("records", scenario.name, tuple(days), counted, files)


def _of_episode(
    columns: dict[str, NDArray[Any]], names: tuple[str, ...], episode: int
) -> dict[str, NDArray[Any]]:
    mine = columns["campaign"] == episode
    return {name: columns[name][mine] for name in names}


def _rebased(
    columns: dict[str, NDArray[Any]], rows: NDArray[np.bool_], zero_ms: int, by: str
) -> dict[str, NDArray[Any]]:
    """Some rows in the order of time, their moments counted from `zero_ms`."""
    order = np.flatnonzero(rows)
    order = order[np.argsort(columns[by][order], kind="stable")]
    out: dict[str, NDArray[Any]] = {}
    for name, values in columns.items():
        kept = values[order]
        if name in _TIMES and name not in _LENGTHS:
            kept = np.where(kept >= 0, kept - zero_ms, -1)
        out[name] = kept
    return out


def _table(name: str, columns: dict[str, NDArray[Any]]) -> Table:
    return Table(name, columns, source=dict.fromkeys(columns, f"{name}.parquet"))
