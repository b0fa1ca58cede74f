"""What run folders say about themselves: manifests, configurations, results; read only.

Nothing here needs PyTorch, and a damaged folder is told in one line and not followed by a crash.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.table import Table

from quietdial.envs.errors import RunFolderError
from quietdial.experiments.rundir import RESULT_SCHEMA, at_work
from quietdial.experiments.stats import Interval

_TRACES: Final = ("manifest.json", "config.yaml", "train.jsonl", "checkpoints", "evaluation.json")
_DEPTH: Final = 3
_TAIL_BYTES: Final = 65_536
_LARGEST_BYTES: Final = 256 * 2**20


def find_runs(folder: Path) -> list[Path]:
    """The run folders in `folder`, up to three levels deep, by name; itself, if it is one.

    Raises:
        RunFolderError: it is not a folder.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is not a folder; give a run or a folder of runs")
    return sorted(_runs_below(folder, _DEPTH), key=lambda path: str(path))


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    if any((folder / name).exists() for name in _TRACES):
        yield folder
        return
    if depth:
        try:
            inner = [path for path in folder.iterdir() if path.is_dir()]
        except OSError:
            return
        for path in inner:
            if not path.name.startswith("."):
                yield from _runs_below(path, depth - 1)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        RunFolderError: one line on why there is none.
    """
    text = read_file(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: damaged, not JSON ({error})") from None
    if not isinstance(found, dict):
        raise RunFolderError(f"{path}: damaged, not a JSON object")
    return found


def read_file(path: Path) -> str:
    """The text of a file.

    Raises:
        RunFolderError: one line on why it cannot be read.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise RunFolderError(f"{path}: larger than 256 MiB")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunFolderError(f"{path}: missing") from None
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise RunFolderError(f"{path}: damaged, not text in UTF-8") from None


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest of a run, with its configuration.

    Raises:
        RunFolderError: one line on why there is none.
    """
    path = run / "manifest.json"
    manifest = read_object(path)
    config = manifest.get("config")
    if not isinstance(config, dict) or not isinstance(manifest.get("status"), str):
        raise RunFolderError(f"{path}: not a run's manifest")
    return manifest


def read_result(run: Path) -> dict[str, Any]:
    """The judge's result of a run, `evaluation.json`.

    Raises:
        RunFolderError: one line on why there is none.
    """
    path = run / "evaluation.json"
    result = read_object(path)
    if result.get("schema") != RESULT_SCHEMA or not isinstance(result.get("figures"), list):
        raise RunFolderError(f"{path}: not a result of the judge ({RESULT_SCHEMA})")
    return result


def figure_of(result: Mapping[str, Any], name: str) -> Interval | None:
    """One figure of a result by name; None if it has none of that name, or a damaged one."""
    for row in result["figures"]:
        if isinstance(row, dict) and row.get("name") == name:
            try:
                value, lo, hi = (float(row[key]) for key in ("value", "lo", "hi"))
                return Interval(value, lo, hi, int(row["n"]))
            except (KeyError, TypeError, ValueError):
                return None
    return None


def read_days(run: Path) -> dict[str, dict[str, list[float]]]:
    """The judged days of a run, `days.csv`: policy, then column, then one number for each day.

    Raises:
        RunFolderError: one line on why there are none.
    """
    path = run / "days.csv"
    rows = csv.reader(io.StringIO(read_file(path)))
    head = next(rows, [])
    if head[:2] != ["policy", "seed"]:
        raise RunFolderError(f"{path}: damaged, the first line must begin with policy,seed")
    found: dict[str, dict[str, list[float]]] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(head):
            raise RunFolderError(f"{path}, line {number}: damaged, not {len(head)} columns")
        columns = found.setdefault(row[0], {name: [] for name in head[1:]})
        try:
            for name, text in zip(head[1:], row[1:], strict=True):
                columns[name].append(float(text))
        except ValueError:
            raise RunFolderError(f"{path}, line {number}: damaged, not a number") from None
    return found


def last_step(run: Path) -> int | None:
    """The step of the last whole row of `train.jsonl`; None if there is none."""
    try:
        with (run / "train.jsonl").open("rb") as file:
            file.seek(max(file.seek(0, io.SEEK_END) - _TAIL_BYTES, 0))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return None


def setting(config: Mapping[str, Any], key: str) -> Any:
    """A setting by its dotted name, such as `learner.seed`; None if there is none."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


@dataclass(frozen=True)
class RunRow:
    """One run in the list of all.

    Attributes:
        run: path below the folder that was listed.
        status: running, finished, interrupted or failed; killed, if it says running and its process
            is gone; damaged, if that cannot be told.
        reason: why it is damaged, or why it has no figures; None if nothing is wrong.
        algorithm: name of the learner.
        scenario: name or file of the world, as the configuration has it.
        seed: seed of the learner.
        steps: environment steps trained so far.
        started: when it began, UTC.
        cap: the allowed silent rate, fraction.
        utilisation: of its policy on the test days, fraction.
        silent_rate: the same, fraction of answered.
        p_day_breaks_cap: share of the test days above the cap.
        over_best_rule: utilisation minus that of the best rule, fraction.
        feasible: whether the checkpoint surely kept the limits on the selection days.
        keeps_cap: whether the upper limit of the silent rate on the test days is within the cap.
    """

    run: str
    status: str
    reason: str | None = None
    algorithm: str | None = None
    scenario: str | None = None
    seed: int | None = None
    steps: int | None = None
    started: str | None = None
    cap: float | None = None
    utilisation: Interval | None = None
    silent_rate: Interval | None = None
    p_day_breaks_cap: Interval | None = None
    over_best_rule: Interval | None = None
    feasible: bool | None = None
    keeps_cap: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: v.to_dict() if isinstance(v, Interval) else v for k, v in values.items()}


def row_of(run: Path, name: str) -> RunRow:
    """What the list says of a run folder; never raises for what stands in it.

    Args:
        run: the folder.
        name: what it is called in the list.
    """
    try:
        manifest = read_manifest(run)
    except RunFolderError as error:
        return RunRow(name, "damaged", reason=_short(error, run), steps=last_step(run))
    config = manifest["config"]
    known: dict[str, Any] = {
        "run": name,
        "status": _status(run, manifest["status"]),
        "algorithm": _text(setting(config, "learner.algorithm")),
        "scenario": _text(setting(config, "scenario")),
        "seed": _whole(setting(config, "learner.seed")),
        "steps": last_step(run),
        "started": _text(manifest.get("started")),
    }
    if not (run / "evaluation.json").exists():
        return RunRow(**known)
    try:
        return RunRow(**known, **_judged(read_result(run)))
    except RunFolderError as error:
        return RunRow(**known, reason=_short(error, run))


def _status(run: Path, said: str) -> str:
    """The manifest's status; `killed` if it says running and no process is at work there."""
    return "killed" if said == "running" and not at_work(run) else said


def _judged(result: Mapping[str, Any]) -> dict[str, Any]:
    cap, rows, selection = result.get("cap"), result["figures"], result.get("selection")
    name = str(rows[0].get("name", "")).rsplit("/", 1)[0] if rows and rows[0] else ""
    rate = figure_of(result, f"{name}/silent_rate")
    known = isinstance(cap, float | int) and not isinstance(cap, bool)
    limit = float(cap) if known and cap is not None else None
    return {
        "cap": limit,
        "utilisation": figure_of(result, f"{name}/utilisation"),
        "silent_rate": rate,
        "p_day_breaks_cap": figure_of(result, f"{name}/p_day_breaks_cap"),
        "over_best_rule": figure_of(result, f"{name} minus best rule/utilisation"),
        "feasible": bool(selection.get("feasible")) if isinstance(selection, dict) else None,
        "keeps_cap": None if rate is None or limit is None else rate.hi <= limit,
    }


def list_runs(folder: Path) -> list[RunRow]:
    """All runs of a folder, damaged ones included, the newest last.

    Raises:
        RunFolderError: it is not a folder.
    """
    rows = [
        row_of(path, path.name if path == folder else str(path.relative_to(folder)))
        for path in find_runs(folder)
    ]
    return sorted(rows, key=lambda row: (row.started or "", row.run))


def runs_table(rows: Sequence[RunRow]) -> Table:
    """The list for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("run\nstarted, UTC", overflow="fold")
    shown.add_column("learner\nscenario", overflow="fold")
    shown.add_column("seed", justify="right")
    shown.add_column("status\nM steps")
    shown.add_column("utilisation %\nover best rule")
    shown.add_column("silent %\nlimit")
    shown.add_column("cap %")
    shown.add_column("days\nabove %", justify="right")
    for row in rows:
        shown.add_row(*_cells(row))
    return shown


def troubles(rows: Sequence[RunRow]) -> list[str]:
    """What is wrong with damaged runs, a line each."""
    return [f"{row.run}: {row.reason}" for row in rows if row.reason is not None]


def _cells(row: RunRow) -> tuple[str, ...]:
    steps = "" if row.steps is None else f"\n{row.steps / 1e6:.2f}"
    started = "" if row.started is None else f"\n[dim]{row.started[:16].replace('T', ' ')}[/]"
    world = Path(row.scenario or "").name.removesuffix(".yaml")
    who = "" if row.algorithm is None else f"{row.algorithm}\n[dim]{world}[/]"
    seed = "" if row.seed is None else str(row.seed)
    head = (f"{row.run}{started}", who, seed, f"{row.status}{steps}")
    if row.utilisation is None or row.silent_rate is None:
        return (*head, "", "", "", "")
    rate, days, gap = row.silent_rate, row.p_day_breaks_cap, row.over_best_rule
    over = "" if gap is None else f"\n{100 * gap.value:+.2f} ± {100 * gap.half_width:.2f}"
    return (
        *head,
        f"{100 * row.utilisation.value:.2f}{over}",
        f"{100 * rate.value:.2f}\n< {100 * rate.hi:.2f}",
        _cap_cell(row),
        "" if days is None else f"{100 * days.value:.0f}",
    )


def _cap_cell(row: RunRow) -> str:
    if row.cap is None or row.cap >= 1.0:
        return "none"
    said = "kept" if row.keeps_cap else "[bold]NOT kept[/]"
    return f"{100 * row.cap:g} {said}" + ("\ninfeasible" if row.feasible is False else "")


def _short(error: Exception, run: Path) -> str:
    """The error without the run's own path, which stands beside it."""
    return " ".join(str(error).replace(f"{run}/", "").split())


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


__all__ = [
    "RunRow",
    "figure_of",
    "find_runs",
    "last_step",
    "list_runs",
    "read_days",
    "read_file",
    "read_manifest",
    "read_object",
    "read_result",
    "row_of",
    "runs_table",
    "setting",
    "troubles",
]
