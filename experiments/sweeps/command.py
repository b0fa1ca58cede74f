"""`quietdial sweep`: plan the trials, do those that are left, show the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quietdial.envs.errors import ConfigError
from quietdial.experiments.executors import (
    Executor,
    InlineExecutor,
    Key,
    LocalExecutor,
    Outcome,
    Plain,
    run_all,
)
from quietdial.experiments.progress import progress_bar
from quietdial.experiments.sweeps.manifest import SweepManifest
from quietdial.experiments.sweeps.space import (
    Range,
    SweepConfig,
    Trial,
    planned_trials,
    run_config,
    trial_name,
)
from quietdial.experiments.sweeps.trials import run_trial

__all__ = ["Watcher", "check_ends", "ranked", "run_local", "run_sweep", "spec_of", "sweep_table"]


def run_sweep(
    config: SweepConfig,
    console: Console,
    command: str,
    *,
    jobs: int,
    make_executor: Callable[[int], Executor] | None = None,
) -> Plain:
    """Do what is left of a sweep in processes of this machine.

    Args:
        config: the sweep.
        console: where progress and the table go.
        command: command line, for the files.
        jobs: trials at the same time; 1: in this process.
        make_executor: what does the trials, from the number of them at a time (tests).

    Returns:
        The content of `sweep.json`.

    Raises:
        ConfigError: a key, a value or the search is not allowed; nothing has begun.
        KeyboardInterrupt: what was finished is kept; the same call goes on.
    """
    if config.search == "optuna" or config.stop == "asha":
        what = "search = 'optuna'" if config.search == "optuna" else "stop = 'asha'"
        raise ConfigError(f"{what} runs on Ray Tune; add --ray")
    manifest, trials = prepare(config, command)
    run_local(config, manifest, trials, console, command, jobs, make_executor)
    show(manifest, console)
    return manifest.data


def prepare(config: SweepConfig, command: str) -> tuple[SweepManifest, dict[str, Trial]]:
    """Check all trials, then open the sweep's folder and enter them.

    Returns:
        The manifest and the trials by name.
    """
    trials = {trial.name: trial for trial in planned_trials(config)}
    for trial in trials.values():
        run_config(config, trial)
    manifest = SweepManifest.open(config, command)
    for trial in trials.values():
        manifest.add(trial)
    manifest.write()
    return manifest, trials


def check_ends(config: SweepConfig) -> None:
    """Check that both ends of every range, and all listed values, make allowed runs."""
    axes = config.axes
    for share in (0.0, 1.0 - 1e-12):
        params = {
            axis.key: axis.range.draw(share)
            if isinstance(axis.range, Range)
            else axis.values[0 if share == 0.0 else -1]
            for axis in axes
        }
        run_config(config, Trial(trial_name(axes, params, 0), params))


def spec_of(config: SweepConfig, trial: Trial, command: str) -> Plain:
    """What `run_trial` gets; the scenario of the trial is written first."""
    values = run_config(config, trial, write=True)
    return {"config": values.model_dump(mode="json"), "command": command}


def run_local(
    config: SweepConfig,
    manifest: SweepManifest,
    trials: Mapping[str, Trial],
    console: Console,
    command: str,
    jobs: int,
    make_executor: Callable[[int], Executor] | None,
) -> None:
    """Do the trials that are left, in processes with one thread each."""
    left = [name for name in manifest.left() if name in trials]
    if not left:
        return
    number = min(jobs, len(left))
    if make_executor is not None:
        executor = make_executor(number)
    else:
        executor = InlineExecutor(run_trial) if number == 1 else LocalExecutor(number, run_trial)

    def begin(key: Key) -> tuple[Plain, None]:
        manifest.note(key[1], "running")
        return spec_of(config, trials[key[1]], command), None

    with Watcher(manifest, len(trials), console) as watcher:

        def ended(outcome: Outcome, seconds: float) -> None:
            watcher.ended(outcome.key[1], outcome.result, outcome.error, seconds)

        run_all(executor, [("sweep", name) for name in left], begin, ended)


class Watcher:
    """Writes how trials end and tells it: a bar on a terminal, a line for each trial elsewhere."""

    def __init__(self, manifest: SweepManifest, total: int, console: Console) -> None:
        self._manifest, self._total, self._console = manifest, total, console
        self._bar = progress_bar(console)

    @property
    def done(self) -> int:
        """Trials that need no more work."""
        return sum(row["status"] in ("finished", "stopped") for row in self._trials.values())

    @property
    def _trials(self) -> dict[str, Plain]:
        return self._manifest.trials

    def __enter__(self) -> Watcher:
        """Say what there is to do."""
        kept = f", {self.done} finished before" if self.done else ""
        self._console.print(f"{self._total} trials{kept}. Runs: {self._manifest.folder}/")
        self._progress = self._bar.__enter__()
        self._task = self._progress.add_task("trials", total=self._total, completed=self.done)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        """Say that an interruption loses nothing."""
        self._bar.__exit__(kind, error, trace)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._console.print(
                f"Interrupted: {self.done} of {self._total} trials are finished; the same command "
                "goes on from there."
            )

    def ended(
        self, name: str, result: Plain | None, error: str, seconds: float, *, stopped: bool = False
    ) -> None:
        """A trial has ended: with a result, early, or with an error."""
        if result is not None:
            self._manifest.note(name, "finished", result=result, seconds=round(seconds, 1))
            said = f"score {result['score']:.4f}"
        elif stopped:
            self._manifest.note(name, "stopped", seconds=round(seconds, 1))
            said = "stopped early"
        else:
            self._manifest.note(name, "failed", error=error, seconds=round(seconds, 1))
            said = f"[red]failed[/]: {escape(error)}"
        self._progress.update(self._task, completed=self.done)
        self._console.print(f"{self.done}/{self._total} {name}: {said}", highlight=False)


# --- the end --------------------------------------------------------------------------------------


def ranked(trials: Mapping[str, Plain]) -> list[tuple[str, Plain]]:
    """Trials, the best feasible one first, then what violates least, then what has no result."""

    def place(item: tuple[str, Plain]) -> tuple[bool, bool, float]:
        result = item[1].get("result")
        if result is None:
            return True, True, 0.0
        return False, not result["feasible"], -result["score"]

    return sorted(trials.items(), key=place)


def show(manifest: SweepManifest, console: Console) -> None:
    """The table, what failed, and how to look further."""
    trials = manifest.trials
    console.print()
    console.print(sweep_table(trials))
    for name, row in trials.items():
        if row["status"] == "failed":
            console.print(f"[red]failed[/]: {name}: {escape(row['error'])}")
    best = next(iter(ranked(trials)), None)
    if best is not None and best[1].get("result", {}).get("feasible"):
        console.print(f"Best on selection days: {manifest.folder / best[0]}")
    elif any("result" in row for row in trials.values()):
        console.print("No trial surely keeps its cap on selection days.")


def sweep_table(trials: Mapping[str, Plain]) -> Table:
    """All trials, the best feasible one first; utilisation and rate are those of test days."""
    keys = _told_keys([row["params"] for row in trials.values()])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for key in keys:
        table.add_column(key.rpartition(".")[2])
    for title in ("score", "utilisation [%]", "silent [%]", "cap [%]", "status"):
        table.add_column(title, justify="left" if title == "status" else "right")
    for _, row in ranked(trials):
        cells = [_cell(row["params"].get(key)) for key in keys]
        result = row.get("result")
        if result is None:
            table.add_row(*cells, "", "", "", "", row["status"])
            continue
        test = result["test"]
        table.add_row(
            *cells,
            f"{result['score']:.4f}",
            _percent(test["utilisation"]),
            _percent(test["silent_rate"]),
            f"{100 * result['cap']:g}",
            "keeps the cap" if result["feasible"] else "[red]above the cap[/]",
        )
    return table


def _told_keys(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values differ; all if none does."""
    keys = list(dict.fromkeys(key for one in params for key in one))
    return [key for key in keys if len({str(one.get(key)) for one in params}) > 1] or keys


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _percent(interval: Mapping[str, float]) -> str:
    value, lo, hi = (100 * interval[key] for key in ("value", "lo", "hi"))
    return f"{value:.2f} ({lo:.2f} to {hi:.2f})"
