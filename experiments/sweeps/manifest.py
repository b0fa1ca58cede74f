"""`sweep.json`: what a sweep is, and how each of its trials stands; written whole at each change.

Statuses: `waiting`, `running`, `finished`, `stopped` (ended early by the search) and `failed`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from quietdial.envs.errors import ConfigError, RunFolderError
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.executors import Plain
from quietdial.experiments.rundir import first_difference, plain, provenance, writable_folder
from quietdial.experiments.sweeps.space import SweepConfig, Trial
from quietdial.experiments.sweeps.trials import result_of

FILE: Final = "sweep.json"
SCHEMA: Final = "quietdial-sweep/1"
_MAY_DIFFER: Final = ("over", "trials")
"""Settings that a later call may widen: trials that are there already stay."""


class SweepManifest:
    """A sweep's file of the state of its trials.

    Attributes:
        folder: folder of the sweep.
        data: what stands in the file.
    """

    def __init__(self, folder: Path, data: Plain) -> None:
        self.folder, self.data = folder, data

    @classmethod
    def open(cls, config: SweepConfig, command: str) -> Self:
        """Make a sweep's folder, or go on in it.

        Raises:
            ConfigError: the folder holds another sweep.
            RunFolderError: the folder cannot be written, or holds something else.
        """
        folder = writable_folder(config.folder)
        path, earlier = folder / FILE, None
        if path.exists():
            earlier = read_sweep(folder)
            _check_same(earlier["config"], config.values(), folder)
        elif any(folder.iterdir()):
            raise RunFolderError(
                f"{str(folder)!r} exists and holds no sweep; give another name with --name"
            )
        trials = {} if earlier is None else earlier["trials"]
        for row in trials.values():
            if row["status"] in ("running", "failed"):  # of a call that was interrupted
                row["status"] = "waiting"
        data = {
            "schema": SCHEMA,
            "name": config.name,
            "started": _now() if earlier is None else earlier["started"],
            "changed": _now(),
            **provenance(command),
            "config": config.values(),
            "trials": trials,
        }
        found = cls(folder, data)
        found.write()
        return found

    @property
    def trials(self) -> dict[str, Plain]:
        """The trials by name: params, status, result, error, seconds."""
        return self.data["trials"]  # type: ignore[no-any-return]

    def add(self, trial: Trial) -> None:
        """Enter a trial, unless it is there; what is finished on disk counts as finished."""
        row = self.trials.setdefault(
            trial.name, {"params": plain(dict(trial.params)), "status": "waiting"}
        )
        if row["status"] == "waiting":
            result = result_of(self.folder / trial.name)
            if result is not None:
                row.update(status="finished", result=result)

    def note(self, name: str, status: str, **more: object) -> None:
        """Write how a trial stands."""
        self.trials[name].update(status=status, **plain(more))
        self.write()

    def write(self) -> None:
        """Replace the file."""
        self.data["changed"] = _now()
        write_json_atomic(self.folder / FILE, self.data)

    def left(self) -> list[str]:
        """Names of the trials that are still to be done, in order."""
        return [name for name, row in self.trials.items() if row["status"] == "waiting"]


def read_sweep(folder: Path) -> Plain:
    """What stands in the file of a sweep (ConfigError if it cannot be read)."""
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a sweep ({error})") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ConfigError(f"{path}: is not a sweep's file of schema {SCHEMA!r}")
    return data


def _check_same(there: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    for key, value in now.items():
        if key == "base":
            value = {**value, "runs": there[key]["runs"]}  # the folder may have been moved
        if key not in _MAY_DIFFER:
            what = first_difference(there.get(key), value, key)
            if what is not None:
                raise ConfigError(
                    f"{str(folder)!r} holds another sweep ({what}); give another name with --name"
                )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
