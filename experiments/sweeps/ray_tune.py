"""A sweep on Ray Tune: trials on any machine of a cluster, a search that learns, early stopping.

Ray only decides which trial runs where. Each writes its own run folder, which all machines must see
at the same path, and a trial whose worker or node died goes on elsewhere from its last checkpoint
there. What Ray itself writes lies in a folder that is deleted at the end; after a killed sweep the
same command plans anew from `sweep.json`, so nothing that Ray pickled is ever read back.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from quietdial.envs.errors import ConfigError, QuietDialError
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.executors import Plain, one_line
from quietdial.experiments.ray_cluster import ray_session, sweep_away
from quietdial.experiments.sweeps.command import (
    Watcher,
    check_ends,
    prepare,
    show,
    spec_of,
)
from quietdial.experiments.sweeps.manifest import FILE, SweepManifest
from quietdial.experiments.sweeps.space import SweepConfig, Trial
from quietdial.experiments.sweeps.suggest import Suggestions
from quietdial.experiments.sweeps.trials import result_of, run_trial, score

from ray import tune  # isort: skip  # after ray_cluster has set what Ray reads when it is imported
from ray.tune.schedulers import ASHAScheduler  # isort: skip
from ray.tune.search import Searcher  # isort: skip

MOST_FAILURES: Final = 10
"""Deaths of workers or nodes that a trial survives."""

GRACE_PERCENT, REDUCTION = 10, 3
"""ASHA looks at trials after 10, 30 and 90 % of their training and lets the best third go on."""


def run_on_ray(
    config: SweepConfig, console: Console, command: str, *, address: str | None, jobs: int
) -> Plain:
    """Do what is left of a sweep on Ray; arguments and result as of `command.run_sweep`.

    Args:
        config: the sweep.
        console: where progress and the table go.
        command: command line, for the files.
        address: of the head of a cluster; None: this machine.
        jobs: trials at the same time on this machine.
    """
    if config.search == "optuna":
        check_ends(config)
        manifest = SweepManifest.open(config, command)
        planned: dict[str, Trial] = {}
        total = config.trials
    else:
        manifest, planned = prepare(config, command)
        total = len(planned)
    suggestions = Suggestions(config, manifest.trials, planned)
    if suggestions.left:
        with ray_session(address, jobs), Watcher(manifest, total, console) as watcher:
            _tune(config, manifest, suggestions, watcher, command)
    show(manifest, console)
    return manifest.data


def _tune(
    config: SweepConfig,
    manifest: SweepManifest,
    suggestions: Suggestions,
    watcher: Watcher,
    command: str,
) -> None:
    sweep_away(manifest.folder, ".ray-*")
    storage = manifest.folder.absolute() / f".ray-{os.getpid()}"
    scheduler = None
    if config.stop == "asha":
        scheduler = ASHAScheduler(
            time_attr="percent",
            metric="score",
            mode="max",
            max_t=100,
            grace_period=GRACE_PERCENT,
            reduction_factor=REDUCTION,
        )
    try:
        tuner = tune.Tuner(
            tune.with_resources(_train, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(config, manifest, suggestions, command),
                scheduler=scheduler,
                num_samples=suggestions.left,
                reuse_actors=True,  # importing torch and the kernels takes longer than many a trial
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(storage),
                failure_config=tune.FailureConfig(max_failures=MOST_FAILURES),
                callbacks=[_Notes(manifest, suggestions, watcher)],
                verbose=0,
            ),
        )
        tuner.fit()
    finally:
        sweep_away(manifest.folder, ".ray-*")


def _train(given: Mapping[str, Any]) -> None:
    """One trial on a worker; called again after a death, it goes on where the last one was."""
    spec = json.loads(given["spec"])
    folder = Path(spec["config"]["runs"])
    stopped = False
    try:
        if not (folder / FILE).is_file():
            raise ConfigError(
                f"this machine does not see {folder / FILE}; the folder of the runs must be shared "
                "by all machines of the cluster, at the same path"
            )
        cap = spec["cap"]

        def on_rollout(report: Any) -> None:
            nonlocal stopped
            told = {
                "percent": min(100 * report.step // report.total_steps, 99),
                "score": score(report.utilisation, report.silent_rate_ema, cap),
            }
            try:
                tune.report(told)
            except SystemExit:  # so Tune ends a trial
                stopped = True
                raise KeyboardInterrupt from None

        found = run_trial(spec, on_rollout=on_rollout)
        tune.report({"percent": 100, "score": found["score"]})
    except QuietDialError as error:
        if stopped:
            _mark_stopped(folder / spec["config"]["name"])
            raise SystemExit(0) from None  # to return would wait for Tune, which has gone on
        tune.report({"percent": 100, "score": -1e9, "error": one_line(error)})


class _Searcher(Searcher):
    """Hands our trials to Tune and tells the search how they ended."""

    def __init__(
        self, config: SweepConfig, manifest: SweepManifest, suggestions: Suggestions, command: str
    ) -> None:
        super().__init__(metric="score", mode="max")
        self._config, self._manifest, self._command = config, manifest, command
        self._suggestions = suggestions

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial."""
        trial = self._suggestions.next()
        if trial is None:
            return Searcher.FINISHED  # type: ignore[return-value]  # Ray's own sign
        self._manifest.add(trial)
        self._manifest.note(trial.name, "running")
        spec = spec_of(self._config, trial, self._command)
        spec["cap"] = _cap_of(spec)
        return {"name": trial.name, "spec": json.dumps(spec)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: `_Notes` has told it already."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: `sweep.json` says all that a later call needs."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Nothing for Ray to write down, for the same reason."""
        return Searcher, ()


def _cap_of(spec: Plain) -> float:
    from quietdial.envs.scenario import load_scenario

    return load_scenario(spec["config"]["scenario"]).rule.cap


class _Notes(tune.Callback):
    """Writes into `sweep.json` how trials end."""

    def __init__(self, manifest: SweepManifest, suggestions: Suggestions, watcher: Watcher) -> None:
        self._manifest, self._suggestions, self._watcher = manifest, suggestions, watcher
        self._began: dict[str, float] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Nothing for Ray to write down (see `_Searcher`)."""
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial starts, or starts again."""
        name = trial.config["name"]
        self._began.setdefault(name, time.monotonic())
        self._manifest.note(
            name, "running", starts=self._manifest.trials[name].get("starts", 0) + 1
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended, well, early or with an error of ours."""
        error = (trial.last_result or {}).get("error", "")
        self._ended(trial.config["name"], error, stopped=not error)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was given up."""
        self._ended(
            trial.config["name"], f"given up after {trial.num_failures} failures of its workers"
        )

    def _ended(self, name: str, error: str, *, stopped: bool = False) -> None:
        folder = self._manifest.folder / name
        result = None if error else result_of(folder)
        if result is None and stopped:
            _mark_stopped(folder)
        seconds = time.monotonic() - self._began.get(name, time.monotonic())
        self._watcher.ended(name, result, error, seconds, stopped=stopped)
        self._suggestions.ended(name, None if result is None else result["score"])


def _mark_stopped(folder: Path) -> None:
    """Say in the run's own manifest that the search ended it."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    results = {**manifest.get("results", {}), "stopped_by": "asha"}
    write_json_atomic(path, {**manifest, "status": "interrupted", "results": results})


__all__ = ["Trial", "run_on_ray"]
