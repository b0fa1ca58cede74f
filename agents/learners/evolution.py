"""Evolution strategies on the numbers of a rule: the cheap alternative to a learner (no torch).

Separable natural evolution strategy (Schaul, Glasmachers and Schmidhuber 2011, "High dimensions and
heavy tails for natural evolution strategies", algorithm SNES): candidates are drawn from a normal
distribution with one standard deviation for each number; mean and deviations follow the ranks of
what the candidates earned. They are drawn in mirrored pairs, and all of one generation play the
same days, so that ranks compare candidates and not luck. Every generation plays other days, and the
answer is the mean of the distribution, not the best candidate seen: both keep the training days
from being learned by heart, which fixed days did in the science study (B4: +.003 there, +.0009
elsewhere).

What a candidate earns is the Lagrangian of the study::

    utilisation - L (silent - target x answered) / available agent-seconds

with L in agent-seconds per silent call, from any `lagrange.Multiplier`, which is told the counts of
each generation: `fixed` searches at one price, `pi` brings the generation to the target rate. A
candidate whose numbers do not go together ranks last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.learners.lagrange import Multiplier
from quietdial.agents.policy import THETA_RANGE, Policy, checked_knob
from quietdial.agents.rules.base import ControllerRule
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.controllers.plug import Setting
from quietdial.envs.pacing.spec import observation_fields

FloatArray = NDArray[np.float64]

_FIXED_UNITS: Final = ("choice", "HHMM", "0 or 1", "0/1")
"""Settings with these units are words, times of day or switches; they are left as they are."""


_COUNTS: Final = ("silent", "answered")
_DAYS_PER_SEED: Final = 1_000_000


class Played(NamedTuple):
    """What a policy did on some days, all together.

    Attributes:
        utilisation: (talk + wrap-up) / available agent-seconds, a fraction.
        silent: silent calls.
        answered: answered calls.
        available_s: agents logged in and not on break, agent-seconds.
    """

    utilisation: float
    silent: float
    answered: float
    available_s: float


Play = Callable[[Policy, NDArray[np.int64]], Played]
"""Plays one policy on days with these seeds, int64 (D,)."""


class Searched(Protocol):
    """Numbers of a policy, brought to a common scale, that a search may move."""

    @property
    def start(self) -> FloatArray:
        """Where the search begins, (d,)."""
        ...

    @property
    def spread(self) -> FloatArray:
        """Standard deviations of the first generation, (d,)."""
        ...

    def policy(self, x: FloatArray) -> Policy:
        """The policy with these numbers, (d,), any real ones; ConfigError if they do not fit."""
        ...


@dataclass(frozen=True)
class RuleSettings:
    """Settings of a controller rule, between their limits: 0 to 1, in logarithms where low > 0.

    Attributes:
        rule: the rule; the search begins with its settings.
        names: the settings to move; empty: all that are numbers.
        spread_share: deviation of the first generation, as a share of each setting's range.
    """

    rule: ControllerRule
    names: tuple[str, ...] = ()
    spread_share: float = 0.08

    def __post_init__(self) -> None:
        """Refuse names that are no settings, and settings that are no plain numbers."""
        movable = {s.name: s for s in self.rule.described.settings if _is_number(self.rule, s)}
        if not self.names:
            object.__setattr__(self, "names", tuple(movable))
        for name in self.names:
            if name not in movable:
                raise ConfigError(
                    f"{self.rule.name}: {name!r} is not among its settings that can be searched: "
                    + ", ".join(movable)
                )

    @property
    def _moved(self) -> list[Setting]:
        return [s for name in self.names for s in self.rule.described.settings if s.name == name]

    @property
    def start(self) -> FloatArray:
        """The rule's own settings, (d,), each in [0, 1]."""
        return np.array([_to_unit(s, float(getattr(self.rule, s.name))) for s in self._moved])

    @property
    def spread(self) -> FloatArray:
        """`spread_share` for every setting, (d,)."""
        return np.full(len(self.names), self.spread_share)

    def policy(self, x: FloatArray) -> ControllerRule:
        """The rule with these settings; what lies beyond a limit is reflected into the range."""
        given: dict[str, Any] = {
            s.name: _from_unit(s, float(u)) for s, u in zip(self._moved, x, strict=True)
        }
        return replace(self.rule, **given)


def _is_number(rule: ControllerRule, setting: Setting) -> bool:
    value = getattr(rule, setting.name)
    is_plain = isinstance(value, int | float) and not isinstance(value, bool)
    return is_plain and setting.unit not in _FIXED_UNITS


def _to_unit(setting: Setting, value: float) -> float:
    if setting.low > 0:
        return math.log(value / setting.low) / math.log(setting.high / setting.low)
    return (value - setting.low) / (setting.high - setting.low)


def _from_unit(setting: Setting, unit: float) -> float:
    inside = abs((unit + 1.0) % 2.0 - 1.0)  # a triangle wave: 1.1 becomes 0.9, -0.1 becomes 0.1
    value = setting.low + inside * (setting.high - setting.low)
    if setting.low > 0:
        value = setting.low * math.exp(inside * math.log(setting.high / setting.low))
    return min(max(value, setting.low), setting.high)


INDEX_FEATURES: Final = (
    "1",
    "nobody idle and nobody waits",
    "min(idle, 4) / 4",
    "log(p / 0.25), p the answer rate",
    "budget of the tightest window, 2.5 %",
    "share of the window that is left",
)
"""What the threshold of :class:`ThetaIndex` depends on."""


@dataclass(frozen=True)
class ThetaIndex:
    """The marginal rule with a threshold that depends on the state: log theta = w . features.

    The features are :data:`INDEX_FEATURES`, read from the observation `full`. With all weights but
    the first at 0 it is `marginal` with theta = exp(w[0]). Source: science study B4.
    Knob: `theta`, exp(w[0]), a probability, 1e-4 to 0.5.

    Attributes:
        weights: w, one for each feature.
    """

    weights: tuple[float, ...] = (math.log(0.02), 0.0, 0.0, 0.0, 0.0, 0.0)

    name: str = field(default="theta-index", init=False, repr=False)
    observation: str = field(default="full", init=False, repr=False)
    action: str = field(default="theta", init=False, repr=False)
    base_theta: float = field(default=0.02, init=False, repr=False)
    knob_name: str | None = field(default="theta", init=False, repr=False)
    knob_range: tuple[float, float] | None = field(default=THETA_RANGE, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse another number of weights, and a base threshold out of range."""
        if len(self.weights) != len(INDEX_FEATURES) or not np.isfinite(self.weights).all():
            raise ConfigError(
                f"theta-index: weights = {self.weights!r} must be {len(INDEX_FEATURES)} numbers"
            )
        checked_knob("theta-index", "theta", self.knob, THETA_RANGE)

    @property
    def knob(self) -> float:
        """Threshold where all features but the constant are 0, a probability."""
        return math.exp(self.weights[0])

    def with_knob(self, value: float) -> ThetaIndex:
        """The same dependence on the state around another threshold."""
        theta = checked_knob(self.name, "theta", value, THETA_RANGE)
        return replace(self, weights=(math.log(theta), *self.weights[1:]))

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.float32], object | None]:
        """Return the threshold for every campaign, float32 (B, 1)."""
        theta = np.exp(index_features(obs) @ np.array(self.weights))
        return np.clip(theta, *THETA_RANGE).astype(np.float32)[:, None], state


_COLUMNS: Final = {f.name: i for i, f in enumerate(observation_fields("full"))}


def index_features(obs: NDArray[Any]) -> FloatArray:
    """:data:`INDEX_FEATURES` of observations `full` (B, F), as float64 (B, 6)."""
    of = {name: np.asarray(obs[:, at], np.float64) for name, at in _COLUMNS.items()}
    root = (of["answer_rate"] + 1.0) / 2.0
    return np.column_stack(
        [
            np.ones(len(obs)),
            of["nobody_free"],
            np.minimum(of["idle_few"], 1.0),
            2.0 * np.log(np.maximum(root, 0.1) / 0.5),
            of["tightest_window"],
            of["time_left"],
        ]
    )


@dataclass(frozen=True)
class IndexWeights:
    """The weights of a :class:`ThetaIndex` as a search moves them.

    Attributes:
        first: where it begins.
        spread_log: deviation of the first generation, in log theta.
    """

    first: ThetaIndex = field(default_factory=ThetaIndex)
    spread_log: float = 0.25

    @property
    def start(self) -> FloatArray:
        """The first weights, (6,)."""
        return np.array(self.first.weights)

    @property
    def spread(self) -> FloatArray:
        """`spread_log` for every weight, (6,)."""
        return np.full(len(INDEX_FEATURES), self.spread_log)

    def policy(self, x: FloatArray) -> ThetaIndex:
        """The index with these weights; the base threshold is kept within its limits."""
        low, high = (math.log(limit) for limit in THETA_RANGE)
        base = min(max(float(x[0]), low + 1e-9), high - 1e-9)
        return ThetaIndex((base, *(float(w) for w in x[1:])))


@dataclass(frozen=True, eq=False)
class Generation:
    """What one generation showed.

    Attributes:
        number: from 1.
        value: mean Lagrangian value of its candidates, a fraction of utilisation.
        utilisation: their mean utilisation.
        silent_rate: silent / answered of all of them.
        multiplier: price in force, agent-seconds per silent call.
        mean: mean of the distribution after it, (d,).
        spread: standard deviations after it, (d,).
    """

    number: int
    value: float
    utilisation: float
    silent_rate: float
    multiplier: float
    mean: FloatArray
    spread: FloatArray


@dataclass(frozen=True, eq=False)
class Evolved:
    """What the search found: the policy at the mean of the last generation, and the way there."""

    policy: Policy
    generations: tuple[Generation, ...]


def evolve(
    searched: Searched,
    play: Play,
    multiplier: Multiplier,
    *,
    seed: int = 1,
    n_generations: int = 20,
    n_pairs: int | None = None,
    n_days: int = 24,
    on_generation: Callable[[Generation], None] | None = None,
) -> Evolved:
    """Search the numbers of a policy for the highest Lagrangian value.

    Args:
        searched: the numbers.
        play: plays a policy on days.
        multiplier: price of a silent call and target rate, moved after every generation.
        seed: seed of the candidates and of the days (all below 1e9, as training seeds are).
        n_generations: generations, at least 1.
        n_pairs: mirrored pairs of candidates; none: (4 + 3 log d) / 2, rounded up.
        n_days: days that each generation plays; the next one plays others.
        on_generation: told about every generation.

    Raises:
        ConfigError: a number is out of range.
    """
    if n_generations < 1 or n_days < 1 or not 0 <= seed < 1000 or (n_pairs or 1) < 1:
        raise ConfigError(
            f"n_generations = {n_generations}, n_days = {n_days}, n_pairs = {n_pairs} must be at "
            f"least 1 and seed = {seed} between 0 and 999"
        )
    if n_generations * n_days > _DAYS_PER_SEED:
        raise ConfigError(f"n_generations x n_days must be at most {_DAYS_PER_SEED}")
    mean, spread = searched.start.copy(), searched.spread.copy()
    dimensions = len(mean)
    pairs = n_pairs or math.ceil((4 + 3 * math.log(dimensions)) / 2)
    utilities = _utilities(2 * pairs)
    speed = (3.0 + math.log(dimensions)) / (5.0 * math.sqrt(dimensions))
    rng = np.random.default_rng(seed)
    told: list[Generation] = []
    for number in range(n_generations):
        half = rng.standard_normal((pairs, dimensions))
        z = np.concatenate([half, -half])
        first = seed * _DAYS_PER_SEED + number * n_days
        days = first + np.arange(n_days, dtype=np.int64)
        tried = [_try(searched, mean + spread * row, play, days) for row in z]
        results = [one for one in tried if one is not None]
        if not results:
            raise ConfigError("no candidate of the search is an allowed policy")
        values = np.array([-np.inf if r is None else lagrangian(r, multiplier) for r in tried])
        weights = np.empty(len(z))
        weights[np.argsort(-values, kind="stable")] = utilities
        mean = mean + spread * (weights @ z)
        spread = spread * np.exp(0.5 * speed * (weights @ (z * z - 1.0)))
        price = multiplier.value
        silent, answered = (math.fsum(getattr(r, n) for r in results) for n in _COUNTS)
        multiplier.update(silent, answered)
        told.append(
            Generation(
                number=number + 1,
                value=float(values[np.isfinite(values)].mean()),
                utilisation=float(np.mean([one.utilisation for one in results])),
                silent_rate=silent / answered if answered else 0.0,
                multiplier=price,
                mean=mean,
                spread=spread,
            )
        )
        if on_generation is not None:
            on_generation(told[-1])
    return Evolved(searched.policy(mean), tuple(told))


def _try(searched: Searched, x: FloatArray, play: Play, days: NDArray[np.int64]) -> Played | None:
    """What a candidate does; None if its numbers do not go together, as highest below lowest."""
    try:
        policy = searched.policy(x)
    except ConfigError:
        return None
    return play(policy, days)


def lagrangian(played: Played, multiplier: Multiplier) -> float:
    """Utilisation less the price of the silent calls above the target rate, a fraction."""
    excess = played.silent - multiplier.target * played.answered
    return played.utilisation - multiplier.value * excess / max(played.available_s, 1e-9)


def _utilities(n: int) -> FloatArray:
    """Weights of the candidates from best to worst, (n,), sum 0: SNES's log ranks."""
    raw = np.maximum(0.0, math.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))
    weights: FloatArray = raw / raw.sum() - 1.0 / n
    return weights
