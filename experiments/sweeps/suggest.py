"""Which trial comes next: a list, or draws of Optuna that learn from the scores so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quietdial.envs.errors import MissingExtraError
from quietdial.experiments.executors import Plain
from quietdial.experiments.sweeps.space import Axis, SweepConfig, Trial, rounded, trial_name


class Suggestions:
    """The trials that are left, one after the other.

    Args:
        config: the sweep.
        known: trials of earlier calls by name, as in `sweep.json`; unfinished ones come first.
        planned: all trials, unless Optuna draws them.
    """

    def __init__(
        self, config: SweepConfig, known: Mapping[str, Plain], planned: Mapping[str, Trial]
    ) -> None:
        self._axes = config.axes
        self._optuna = config.search == "optuna"
        self._waiting = [
            planned.get(name, Trial(name, row["params"]))
            for name, row in known.items()
            if row["status"] == "waiting" and (self._optuna or name in planned)
        ]
        self._to_draw = max(config.trials - len(known), 0) if self._optuna else 0
        self._number = len(known)
        self._open: dict[str, Any] = {}
        if self._optuna and self.left:
            self._start(config, known)

    @property
    def left(self) -> int:
        """Trials that are still to come."""
        return len(self._waiting) + self._to_draw

    def next(self) -> Trial | None:
        """The next trial; None if there is none left."""
        if self._waiting:
            return self._waiting.pop(0)
        if not self._to_draw:
            return None
        self._to_draw -= 1
        self._number += 1
        asked = self._study.ask(self._distributions)
        params = {axis.key: _clean(axis, asked.params) for axis in self._axes}
        trial = Trial(trial_name(self._axes, params, self._number), params)
        self._open[trial.name] = asked
        return trial

    def ended(self, name: str, score: float | None) -> None:
        """Tell the search how a trial ended; None: without a score."""
        asked = self._open.pop(name, None)
        if asked is None:
            return
        if score is None:
            self._study.tell(asked, state=self._states.PRUNED)
        else:
            self._study.tell(asked, score)

    def _start(self, config: SweepConfig, known: Mapping[str, Plain]) -> None:
        try:
            import optuna
        except ImportError as error:  # pragma: no cover - tested in a bare environment
            raise MissingExtraError("optuna", "sweep", "search = 'optuna'") from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._states = optuna.trial.TrialState
        self._distributions = {
            axis.key: _distribution(optuna.distributions, axis)
            for axis in self._axes
            if axis.range is not None or len(axis.values) > 1
        }
        # after an interruption the sampler must not draw again what it drew before
        seed = config.search_seed + len(known)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        for row in known.values():
            if "result" in row:
                earlier = optuna.trial.create_trial(
                    params={key: _place(self._axes, key, row) for key in self._distributions},
                    distributions=self._distributions,
                    value=row["result"]["score"],
                )
                self._study.add_trial(earlier)


def _distribution(kinds: Any, axis: Axis) -> Any:
    if axis.range is None:
        return kinds.CategoricalDistribution(list(range(len(axis.values))))
    low, high = axis.range.low, axis.range.high
    if axis.range.kind == "int":
        return kinds.IntDistribution(int(low), int(high))
    return kinds.FloatDistribution(low, high, log=axis.range.kind == "loguniform")


def _clean(axis: Axis, drawn: Mapping[str, Any]) -> Any:
    """The value of an axis; of a list Optuna draws the place."""
    if axis.range is None:
        return axis.values[drawn.get(axis.key, 0)]
    value = drawn[axis.key]
    if isinstance(value, int):
        return value
    return min(max(rounded(value), axis.range.low), axis.range.high)


def _place(axes: tuple[Axis, ...], key: str, row: Plain) -> Any:
    axis = next(axis for axis in axes if axis.key == key)
    value = row["params"][key]
    return value if axis.range is not None else list(axis.values).index(value)
