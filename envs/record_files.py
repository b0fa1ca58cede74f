"""Records as Parquet files, streamed while a simulation runs (needs the extra `records`).

A folder of records holds `calls.parquet`, `agents.parquet`, `decisions.parquet` if it was asked
for, and, for a scenario with inbound calls, `inbound.parquet`. Every column carries its unit and
meaning in its field's metadata, and every schema says where the rows come from: the scenario's name
and its whole JSON, the first seed, the policy, the decision interval [s] and the version of
quietdial. The files appear together when the last row is written; an interrupted run leaves the old
ones.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from quietdial.envs.errors import ConfigError, MissingExtraError, RunFolderError
from quietdial.envs.part import describe_validation_error
from quietdial.envs.records import (
    AGENTS,
    CALLS,
    DECISIONS,
    INBOUND,
    Column,
    DecisionRecord,
    Records,
)
from quietdial.envs.scenario.world import Scenario
from quietdial.envs.wall_clock import WallClock

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtraError("pyarrow", "records", "writing and reading records") from error

CALLS_FILE: Final = "calls.parquet"
AGENTS_FILE: Final = "agents.parquet"
INBOUND_FILE: Final = "inbound.parquet"
DECISIONS_FILE: Final = "decisions.parquet"
ROW_GROUP: Final = 65_536
"""Rows that are kept in memory before they are written."""

_TABLES: Final = {
    CALLS_FILE: CALLS,
    AGENTS_FILE: AGENTS,
    INBOUND_FILE: INBOUND,
    DECISIONS_FILE: DECISIONS,
}
_AT: Final = {
    CALLS_FILE: ("dialed_ms", "ended_ms", "connected_ms", "silent_ms"),
    AGENTS_FILE: ("from_ms", "to_ms"),
    INBOUND_FILE: ("arrived_ms", "served_ms"),
    DECISIONS_FILE: (),
}
"""Times that get a wall-clock column beside them when the scenario has a date."""


class Source(NamedTuple):
    """Where a folder of records comes from."""

    scenario: Scenario
    policy: str
    seed: int
    version: str


def _type(column: Column) -> Any:
    if isinstance(column.kind, tuple):
        return pa.dictionary(pa.int8(), pa.string())
    kinds = {"int": pa.int32(), "ms": pa.int64(), "flag": pa.bool_(), "real": pa.float64()}
    return kinds[column.kind]


def schema_of(name: str, scenario: Scenario, source: dict[str, str] | None = None) -> Any:
    """The `pyarrow.Schema` of one file.

    Args:
        name: `CALLS_FILE`, `AGENTS_FILE`, `INBOUND_FILE` or `DECISIONS_FILE`.
        scenario: the world; with a date there are UTC columns named `*_at`.
        source: metadata of the schema.
    """
    fields = [
        pa.field(
            column.name,
            _type(column),
            nullable=column.optional,
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column in _TABLES[name]
    ]
    if scenario.episode.first_day is not None:
        optional = {column.name: column.optional for column in _TABLES[name]}
        fields += [
            pa.field(
                f"{time.removesuffix('_ms')}_at",
                pa.timestamp("ms", tz="UTC"),
                nullable=optional[time],
                metadata={"unit": "UTC", "meaning": f"{time} as wall-clock time"},
            )
            for time in _AT[name]
        ]
    return pa.schema(fields, metadata=source)


class _Table:
    """One growing file under a temporary name."""

    def __init__(
        self, path: Path, scenario: Scenario, clock: WallClock, source: dict[str, str], rows: int
    ) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        self.schema = schema_of(path.name, scenario, source)
        self._columns = _TABLES[path.name]
        self._times = _AT[path.name] if clock.has_date else ()
        self._clock = clock
        self._rows = rows
        self._buffer: list[tuple[Any, ...]] = []
        self._writer = pq.ParquetWriter(self.temporary, self.schema, compression="zstd")

    def add(self, records: Sequence[tuple[Any, ...]]) -> None:
        self._buffer.extend(records)
        while len(self._buffer) >= self._rows:
            self._write(self._buffer[: self._rows])
            del self._buffer[: self._rows]

    def _write(self, rows: list[tuple[Any, ...]]) -> None:
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self._columns)
        arrays = [
            pa.array(values, pa.string()).dictionary_encode().cast(_type(column))
            if isinstance(column.kind, tuple)
            else pa.array(values, _type(column))
            for column, values in zip(self._columns, columns, strict=True)
        ]
        names = [column.name for column in self._columns]
        arrays += [self._at(columns[names.index(time)]) for time in self._times]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))

    def _at(self, times: Sequence[int | None]) -> Any:
        missing = np.array([time is None for time in times], np.bool_)
        known = np.array([time or 0 for time in times], np.int64)
        utc = self._clock.utc_ms(known)
        return pa.array(utc, pa.timestamp("ms", tz="UTC"), mask=missing)

    def finish(self) -> None:
        self._write(self._buffer)
        self._buffer.clear()
        self._writer.close()
        with self.temporary.open("rb") as stream:
            os.fsync(stream.fileno())

    def abandon(self) -> None:
        self._writer.close()
        self.temporary.unlink(missing_ok=True)


class RecordWriter:
    """Streams records of a simulation into a folder; use it as a context manager.

    The files are put in place by `finish`. Leaving the block without it, or with an error, removes
    what was written. Memory: at most `rows_per_group` records of each kind.

    Args:
        folder: where the files go; made if it is missing.
        scenario: the world that is played.
        policy: name of the policy, with its knob.
        seed: seed of campaign 0.
        rows_per_group: rows of one Parquet row group.
        decisions: whether there will be decisions (`add_decisions`).
    """

    def __init__(
        self,
        folder: Path,
        scenario: Scenario,
        *,
        policy: str,
        seed: int,
        rows_per_group: int = ROW_GROUP,
        decisions: bool = False,
    ) -> None:
        source = {
            "quietdial.version": metadata.version("quietdial"),
            "quietdial.scenario": scenario.name,
            "quietdial.scenario_json": scenario.model_dump_json(),
            "quietdial.policy": policy,
            "quietdial.seed": str(seed),
            "quietdial.decision_interval_s": str(scenario.episode.decision_interval_s),
        }
        names = [CALLS_FILE, AGENTS_FILE]
        if decisions:
            names.append(DECISIONS_FILE)
        if scenario.inbound is not None:
            names.append(INBOUND_FILE)
        self._folder = folder
        self._tables: dict[str, _Table] = {}
        clock = WallClock(scenario)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                path = folder / name
                self._tables[name] = _Table(path, scenario, clock, source, rows_per_group)
        except OSError as error:
            self._abandon()
            raise _not_written(folder, error) from error

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._abandon()

    def add(self, records: Records) -> None:
        """Write complete records; raises `RunFolderError` when the disk refuses."""
        try:
            self._tables[CALLS_FILE].add(records.calls)
            self._tables[AGENTS_FILE].add(records.agents)
            if INBOUND_FILE in self._tables:
                self._tables[INBOUND_FILE].add(records.inbound)
        except OSError as error:
            raise _not_written(self._folder, error) from error

    def add_decisions(self, decisions: Sequence[DecisionRecord]) -> None:
        """Write decisions; raises `RunFolderError` when the disk refuses."""
        try:
            self._tables[DECISIONS_FILE].add(decisions)
        except OSError as error:
            raise _not_written(self._folder, error) from error

    def finish(self) -> list[Path]:
        """Write the rest and put the files in place; returns their paths."""
        try:
            for table in self._tables.values():
                table.finish()
            for table in self._tables.values():
                table.temporary.replace(table.path)
        except OSError as error:
            raise _not_written(self._folder, error) from error
        paths = [table.path for table in self._tables.values()]
        for name in (INBOUND_FILE, DECISIONS_FILE):
            if name not in self._tables:
                (self._folder / name).unlink(missing_ok=True)  # of an older run
        self._tables.clear()
        return paths

    def _abandon(self) -> None:
        for table in self._tables.values():
            table.abandon()
        self._tables.clear()


def _not_written(folder: Path, error: OSError) -> RunFolderError:
    reason = error.strerror or type(error).__name__
    return RunFolderError(f"records cannot be written to {folder}: {reason}")


def read_source(folder: Path) -> Source:
    """Where the records of a folder come from.

    Raises `ConfigError` with one line when the folder holds no records of quietdial.
    """
    found = _open(folder / CALLS_FILE).schema_arrow.metadata or {}
    texts = {key.decode(): value.decode() for key, value in found.items()}
    try:
        scenario = Scenario.model_validate_json(texts["quietdial.scenario_json"])
        seed = int(texts["quietdial.seed"])
        return Source(scenario, texts["quietdial.policy"], seed, texts["quietdial.version"])
    except KeyError as error:
        raise ConfigError(f"{folder}: {CALLS_FILE} lacks the metadata {error}") from None
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, f"scenario of {folder}")) from None


def read_columns(
    path: Path, names: Sequence[str], campaign: int | None = None
) -> dict[str, NDArray[Any]]:
    """Some columns of one file as numpy arrays.

    Args:
        path: a file of records.
        names: columns.
        campaign: rows of this campaign only; None: all.

    Returns:
        One array per column, (rows,): times and numbers as int64 with -1 for none, flags as bool
        with False for none, real numbers with NaN for none, enumerations as text with "" for none.
    """
    filters = None if campaign is None else (pc.field("campaign") == campaign)
    _open(path)
    table = pq.read_table(path, columns=list(names), filters=filters)
    return {name: _numpy(table.column(name).combine_chunks()) for name in names}


def _numpy(array: Any) -> NDArray[Any]:
    if pa.types.is_dictionary(array.type):
        return np.array(array.fill_null("").cast(pa.string()).to_pylist(), dtype=np.str_)
    if pa.types.is_boolean(array.type):
        return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
    if pa.types.is_floating(array.type):
        return np.asarray(array.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float64)
    if pa.types.is_timestamp(array.type):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    return np.asarray(array.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False))


def _open(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; give a folder of records")
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path} cannot be read as Parquet: {reason}") from None
