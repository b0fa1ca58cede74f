"""What a sweep varies: axes of listed values or ranges, and the trials made of them.

An axis is written `KEY=VALUES`. KEY is a setting of a training run in dots (`learner.seed`), a
setting of its world (`scenario.floor.n_agents`), or `cap`, short for `scenario.rule.cap`. VALUES is
a list (`1e-4,3e-4`), a row of whole numbers without its end (`0:5`), or a range to draw from
(`loguniform:1e-5,1e-3`, `uniform:LO,HI`, `int:LO,HI`, `choice:a,b`).
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import read_yaml
from quietdial.envs.scenario import Scenario, describe_validation_error, load_scenario
from quietdial.experiments.config import RunConfig, parse_run_config
from quietdial.experiments.rundir import config_sha256

SEARCHES = ("grid", "random", "optuna")
MOST_TRIALS: Final = 10_000
SCENARIOS_FOLDER: Final = "scenarios"
"""Folder of the changed scenarios in the folder of a sweep."""

_CAP, _WORLD, _ALGORITHM = "scenario.rule.cap", "scenario.", "learner.algorithm"
_ROW: Final = re.compile(r"(-?\d+):(-?\d+)(?::(\d+))?\Z")
_RANGE_KINDS: Final = ("loguniform", "uniform", "int", "choice")
_NAME_LENGTH: Final = 90

Params = Mapping[str, Any]
"""Values that a trial sets, by key."""


class Range(NamedTuple):
    """Where values are drawn from.

    Attributes:
        kind: `loguniform`, `uniform` (both real) or `int` (ends included).
        low: lowest value.
        high: highest value.
    """

    kind: Literal["loguniform", "uniform", "int"]
    low: float
    high: float

    def draw(self, share: float) -> float | int:
        """The value below which `share` of the range lies; share in [0, 1)."""
        if self.kind == "int":
            return int(self.low) + int(share * (self.high - self.low + 1))
        if self.kind == "loguniform":
            return rounded(self.low * (self.high / self.low) ** share)
        return rounded(self.low + share * (self.high - self.low))


class Axis(NamedTuple):
    """One setting that differs between trials.

    Attributes:
        key: the setting, in dots.
        values: its values; empty for a range.
        range: where it is drawn from, if it is not listed.
        is_choice: whether the values are drawn from too, in a search.
    """

    key: str
    values: tuple[Any, ...] = ()
    range: Range | None = None
    is_choice: bool = False

    @property
    def is_drawn(self) -> bool:
        """Whether a search draws the value; a grid cannot hold it."""
        return self.range is not None or self.is_choice

    @classmethod
    def parse(cls, text: str) -> Self:
        """The axis of `KEY=VALUES`.

        Raises:
            ConfigError: the text says no axis.
        """
        key, equals, values = (part.strip() for part in text.partition("="))
        if not (key and equals and values):
            raise ConfigError(
                f"over = {text!r} must be KEY=VALUES, for instance learner.seed=0:5 or "
                "learner.learning_rate=1e-4,3e-4"
            )
        key = _CAP if key == "cap" else key
        row = _ROW.match(values)
        if row:
            first, end, step = int(row[1]), int(row[2]), int(row[3] or 1)
            numbers = tuple(itertools.islice(range(first, end, max(step, 1)), MOST_TRIALS + 1))
            return cls(key, _several(key, numbers))
        kind, colon, rest = values.partition(":")
        if colon and kind in _RANGE_KINDS:
            if kind == "choice":
                return cls(key, _several(key, _values(rest)), is_choice=True)
            return cls(key, range=_range(text, kind, rest))
        return cls(key, _several(key, _values(values)))


def rounded(value: float) -> float:
    """A drawn number with six digits, so that its text is the number."""
    return float(f"{value:.6g}")


def _range(text: str, kind: str, ends: str) -> Range:
    numbers = _values(ends)
    if len(numbers) != 2 or not all(isinstance(n, int | float) for n in numbers):
        raise ConfigError(f"over = {text!r}: {kind} needs two numbers, lowest and highest")
    low, high = (float(n) for n in numbers)
    if not (low < high and math.isfinite(high - low)):
        raise ConfigError(f"over = {text!r}: {low:g} must be below {high:g}")
    if kind == "loguniform" and low <= 0:
        raise ConfigError(f"over = {text!r}: a loguniform range must lie above 0")
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise ConfigError(f"over = {text!r}: int needs whole numbers")
    return Range(kind, low, high)  # type: ignore[arg-type]


def _several(key: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ConfigError(f"over {key}: there is no value; give for instance 0:5 or 1e-4,3e-4")
    told = [json.dumps(value) for value in values]
    twice = next((text for text in told if told.count(text) > 1), None)
    if twice is not None:
        raise ConfigError(f"over {key}: the value {twice} is given twice")
    return values


def _values(text: str) -> tuple[Any, ...]:
    """Values apart by commas; those in brackets are lists."""
    parts = re.findall(r"\[[^\]]*\]|[^,]+", text)
    return tuple(_value(part.strip()) for part in parts if part.strip())


def _value(text: str) -> Any:
    """A number, truth value, none or list as JSON writes it; else the text itself."""
    if text in ("none", "None"):
        return None
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return float(text)  # 1.e-4 and .5, which JSON does not know
    except ValueError:
        return text


class SweepConfig(BaseModel):
    """A sweep: what every trial is, and in what they differ."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    over: tuple[str, ...] = Field(
        default=(),
        description="KEY=VALUES: what differs between trials. KEY: a setting of the run in dots "
        "(learner.seed), of its world (scenario.floor.n_agents) or cap; VALUES: 1e-4,3e-4 or 0:5 "
        "or, for a search, loguniform:1e-5,1e-3, uniform:LO,HI, int:LO,HI, choice:a,b",
    )
    search: Literal["grid", "random", "optuna"] = Field(
        default="grid",
        description="grid: all combinations; random: draws; optuna: draws that learn from earlier "
        "trials (on Ray)",
    )
    trials: int = Field(default=0, ge=0, le=MOST_TRIALS, description="number of trials of a search")
    search_seed: int = Field(default=1, ge=0, lt=2**32, description="seed of the search")
    stop: Literal["none", "asha"] = Field(
        default="none", description="asha: end trials early that are behind others (on Ray)"
    )
    base: RunConfig = Field(
        default=RunConfig(),
        description="a training run: what all trials share; its name is the sweep's",
    )

    @model_validator(mode="before")
    @classmethod
    def _written(cls, given: Any) -> Any:
        """In a file, `over` may be a mapping of keys to lists or texts."""
        if isinstance(given, dict) and isinstance(given.get("over"), dict):
            over = [f"{key}={_text(values)}" for key, values in given["over"].items()]
            return {**given, "over": over}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        drawn = [axis.key for axis in self.axes if axis.is_drawn]
        if self.search == "grid":
            if drawn:
                raise ValueError(
                    f"over {drawn[0]}: a range needs search = random or optuna; a grid needs values"
                )
            if self.trials:
                raise ValueError(
                    f"trials = {self.trials} is for search = random or optuna; a grid has as many "
                    "trials as combinations"
                )
        elif not self.trials:
            raise ValueError(f"search = {self.search!r} needs trials, how many to draw")
        elif not drawn:
            raise ValueError(
                f"search = {self.search!r} needs a range, for instance "
                "learner.learning_rate=loguniform:1e-5,1e-3"
            )
        return self

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What differs between trials; no key may occur twice."""
        axes = tuple(Axis.parse(text) for text in self.over)
        keys = [axis.key for axis in axes]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ConfigError(f"over {twice}: the key is given twice; give all its values at once")
        return axes

    @property
    def name(self) -> str:
        """Name of the sweep; if none was given, one that the same sweep always gets."""
        if self.base.name is not None:
            return self.base.name
        base = self.base.model_copy(update={"runs": "runs"})
        values = self.model_copy(update={"base": base}).values()
        return f"sweep-{Path(self.base.scenario).stem}-{config_sha256(values)[:8]}"

    def values(self) -> dict[str, Any]:
        """All settings as plain values."""
        return self.model_dump(mode="json")

    @property
    def folder(self) -> Path:
        """Folder of the sweep: one run folder for each trial in it."""
        return Path(self.base.runs) / self.name


def _text(values: Any) -> str:
    if isinstance(values, list | tuple):
        return ",".join(v if isinstance(v, str) else json.dumps(v) for v in values)
    return values if isinstance(values, str) else json.dumps(values)


def load_sweep(path: str | Path) -> SweepConfig:
    """A sweep from a YAML file (ConfigError in one line if it is not allowed)."""
    try:
        return SweepConfig.model_validate(read_yaml(Path(path)))
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, f"sweep {path}")) from None


# --- trials ---------------------------------------------------------------------------------------


class Trial(NamedTuple):
    """One training run of a sweep.

    Attributes:
        name: of its run folder in the sweep's.
        params: what it sets.
    """

    name: str
    params: Params


def planned_trials(config: SweepConfig) -> list[Trial]:
    """All trials of a grid or of a random search, in order.

    Raises:
        ConfigError: there are too many, or an optuna search, whose trials are not known before.
    """
    axes = config.axes
    if config.search == "optuna":
        raise ConfigError("the trials of an optuna search are not known before")
    listed = [axis for axis in axes if not axis.is_drawn]
    number = math.prod(len(axis.values) for axis in listed) * max(config.trials, 1)
    if number > MOST_TRIALS:
        raise ConfigError(f"the sweep has {number} trials; at most {MOST_TRIALS} are allowed")
    grid = [
        dict(zip([axis.key for axis in listed], values, strict=True))
        for values in itertools.product(*(axis.values for axis in listed))
    ]
    if config.search == "grid":
        return [Trial(trial_name(axes, params), params) for params in grid]
    rng = np.random.Generator(np.random.PCG64(config.search_seed))
    trials: list[Trial] = []
    for _ in range(config.trials):
        drawn = {axis.key: _drawn(axis, float(rng.random())) for axis in axes if axis.is_drawn}
        for params in grid:
            both = {axis.key: {**params, **drawn}[axis.key] for axis in axes}
            trials.append(Trial(trial_name(axes, both, len(trials) + 1), both))
    return trials


def _drawn(axis: Axis, share: float) -> Any:
    if axis.range is not None:
        return axis.range.draw(share)
    return axis.values[int(share * len(axis.values))]


def trial_name(axes: Sequence[Axis], params: Params, number: int | None = None) -> str:
    """Name of a trial: what it sets of the axes with several values, after its number if any.

    A sweep that gets further values or trials later keeps the names of those that it had.
    """
    told = [
        f"{axis.key.rpartition('.')[2]}-{_shown(params[axis.key])}"
        for axis in axes
        if axis.is_drawn or len(axis.values) > 1
    ]
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(told)).strip("-.") or "trial"
    if number is not None:
        return f"{number:04d}-{text}"[:_NAME_LENGTH].rstrip("-.")
    if len(text) > _NAME_LENGTH or not _is_plain(params):
        digest = config_sha256({"params": dict(params)})[:6]
        text = f"{text[: _NAME_LENGTH - 7].rstrip('-.')}-{digest}"
    return text if text[0].isalnum() else f"t{text}"


def _is_plain(params: Params) -> bool:
    """Whether no two values of such kinds are shown alike."""
    return all(
        isinstance(value, int | float | bool) or (isinstance(value, str) and value.isidentifier())
        for value in params.values()
    )


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return Path(value).stem
    if isinstance(value, list | tuple):
        return "x".join(_shown(item) for item in value)
    return f"{value!r}" if isinstance(value, float) else str(value)


def run_config(config: SweepConfig, trial: Trial, *, write: bool = False) -> RunConfig:
    """The training run of a trial, checked.

    Args:
        config: the sweep.
        trial: the trial.
        write: write the scenario that the trial changes into the sweep's folder, where it is read
            from.

    Raises:
        ConfigError: a key or value is not allowed.
    """
    what = f"trial {trial.name}"
    base = config.base
    algorithm = trial.params.get(_ALGORITHM)
    if isinstance(algorithm, str):
        known: Any = algorithm  # checked below
        try:
            learner = base.learner.with_algorithm(known)
        except ValidationError as error:
            raise ConfigError(describe_validation_error(error, what)) from None
        base = base.model_copy(update={"learner": learner})
    values = base.model_dump(mode="json")
    folder = config.folder.absolute()  # a worker may stand elsewhere
    values.update(name=trial.name, runs=str(folder))
    world: dict[str, Any] = {}
    for key, value in trial.params.items():
        if key in ("name", "runs") or key.startswith(("name.", "runs.")):
            raise ConfigError(f"over {key}: the sweep names its runs itself")
        if key.startswith(_WORLD):
            world[key.removeprefix(_WORLD)] = value
        else:
            put(values, key, value, what)
    if world:
        scenario = changed_world(load_scenario(values["scenario"]), world)
        path = folder / SCENARIOS_FOLDER / f"{scenario.name}.yaml"
        values["scenario"] = str(path)
        if write:
            from quietdial.envs.loading import write_yaml
            from quietdial.experiments.rundir import make_folder

            make_folder(path.parent)
            write_yaml(path, scenario.model_dump(mode="json", exclude_none=True))
    values["scenario"] = _absolute(values["scenario"])
    return parse_run_config(values, what)


def _absolute(scenario: str) -> str:
    """A preset's name as it is, a file's path from the root."""
    return str(Path(scenario).absolute()) if scenario.endswith((".yaml", ".yml")) else scenario


def changed_world(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """A scenario with other values, named after them.

    Args:
        scenario: what is changed.
        changes: values by key in dots, for instance `rule.cap` or `floor.n_agents`.

    Raises:
        ConfigError: there is no such key, or the value does not fit.
    """
    values = scenario.model_dump(mode="json", exclude_none=True)
    for key, value in changes.items():
        put(values, key, value, f"scenario {scenario.name!r}", open_end=True)
        if key == "rule.cap" and values["rule"].get("windows"):
            values["rule"]["windows"][0]["cap"] = value
    told = "-".join(f"{key.rpartition('.')[2]}-{_shown(value)}" for key, value in changes.items())
    slug = re.sub(r"[^a-z0-9]+", "-", f"{scenario.name}-{told}".lower()).strip("-")
    if len(slug) > 64:
        slug = f"{slug[:57].rstrip('-')}-{config_sha256(dict(changes))[:6]}"
    values["name"] = slug
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        what = f"scenario {scenario.name!r} with other {', '.join(changes)}"
        raise ConfigError(describe_validation_error(error, what)) from None


def put(values: dict[str, Any], key: str, value: Any, what: str, *, open_end: bool = False) -> None:
    """Set a value in nested mappings by its key in dots.

    Args:
        values: the mappings, changed.
        key: where.
        value: what.
        what: whose setting it is, for the error.
        open_end: whether the last part of the key may be missing so far (an optional setting).

    Raises:
        ConfigError: there is no such key.
    """
    *parts, last = key.split(".")
    place: Any = values
    for part in parts:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or not (open_end or last in place):
        near = ", ".join(sorted(place)) if isinstance(place, dict) else ", ".join(sorted(values))
        raise ConfigError(f"{what}: there is no setting {key!r}; use one of: {near}")
    place[last] = value
