"""An adversary against the shields: people begin to answer when it hurts, and the policy helps it.

The answer rate is 0.1 or 0.6 by one of three patterns: one jump up, a square wave, or a jump
whenever more calls are in flight than agents are idle. The policy asks for the most calls always,
for a random number, or lies: it paces one call for each idle agent, and asks for the most when
people begin to answer and once in ten minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.pacing.shield import Shield
from quietdial.envs.pacing.state import (
    CONNECTED,
    COUNT,
    IDLE,
    IN_FLIGHT,
    NOW,
    P_ANSWER,
    SILENT_AMD,
    SILENT_CUT,
    SILENT_LEFT,
    WAITING,
)
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, changed, load_scenario

LOW, HIGH = 0.1, 0.6
"""Answer rates between which the adversary jumps."""
PATTERNS: Final = ("one jump", "square wave", "pounces")
POLICIES: Final = ("the most", "random", "lies")

_HALF_PERIODS_S: Final = (60.0, 1800.0)
_SPRINGS_MS: Final = 600_000
_P32: Final = 4294967296.0
_TINY: Final = 1e-9


def floor(
    name: str,
    *,
    belief: Mapping[str, Any] | None = None,
    calls: Mapping[str, Any] | None = None,
    floor: Mapping[str, Any] | None = None,
    duration_s: float | None = None,
) -> Scenario:
    """Ten agents of `study-real-10`, whose answer rate is the adversary's, with other parts."""
    base = load_scenario("study-real-10")
    parts: dict[str, Any] = {
        "calls": {"answer_rate": {"kind": "constant", "p": LOW}} | dict(calls or {})
    }
    if belief:
        parts["belief"] = dict(belief)
    if floor:
        parts["floor"] = dict(floor)
    if duration_s is not None:
        parts["episode"] = {"duration_s": duration_s}
    return changed(base, name, **parts)


class Adversary:
    """The answer rates of B days; pattern and times follow from a seed.

    Args:
        seeds: seeds of the days, (B,).
        day_s: length of a day [s].
    """

    def __init__(self, seeds: NDArray[np.int64], day_s: float) -> None:
        self._pattern = (seeds // len(POLICIES)) % len(PATTERNS)
        self._jump_ms = np.empty(len(seeds))
        self._half_ms = np.empty(len(seeds))
        for i, seed in enumerate(seeds.tolist()):
            rng = np.random.default_rng([seed, 20_26])
            self._jump_ms[i] = 1000.0 * day_s * rng.random()
            low, high = _HALF_PERIODS_S
            self._half_ms[i] = 1000.0 * low * (high / low) ** rng.random()

    def rates(self, world: World) -> NDArray[np.float64]:
        """The answer rate of each day for the dials of now, (B,)."""
        head = world.state.head
        now = head[:, NOW]
        overdialed = head[:, IN_FLIGHT] > head[:, COUNT + IDLE]
        many = np.choose(
            self._pattern, (now >= self._jump_ms, now // self._half_ms % 2 == 1, overdialed)
        )
        return np.where(many, HIGH, LOW)


def set_rates(world: World, rates: NDArray[np.float64]) -> None:
    """People answer dials from now on with these probabilities, (B,)."""
    world.state.head[:, P_ANSWER] = (rates * _P32).astype(np.int64)


class Asker:
    """What the policies of B days ask for.

    Args:
        seeds: seeds of the days, (B,).
        most: most calls of a decision.
    """

    def __init__(self, seeds: NDArray[np.int64], most: int) -> None:
        self._policy = seeds % len(POLICIES)
        self._most = most
        self._rng = np.random.default_rng(int(seeds[0]))

    def asks(self, world: World, rates: NDArray[np.float64]) -> NDArray[np.int64]:
        """Calls that each policy asks for, (B,)."""
        head = world.state.head
        drawn = self._rng.integers(0, self._most + 1, len(rates))
        honest = head[:, COUNT + IDLE] - head[:, WAITING] - head[:, IN_FLIGHT]
        springs = (rates > LOW) | (head[:, NOW] % _SPRINGS_MS == 0)
        lies = np.where(springs, self._most, np.clip(honest, 0, self._most))
        return np.choose(self._policy, (np.full(len(rates), self._most), drawn, lies))


class Fate(NamedTuple):
    """What became of B days; each (B,).

    Attributes:
        silent: silent calls, all causes.
        answered: calls that a person answered.
        amd: silent calls of people whom detection took for machines.
        highest: largest silent + waiting - cap x answered at any decision of the day.
        refused: calls that the shield refused.
        utilisation: busy / available agent-seconds.
    """

    silent: NDArray[np.float64]
    answered: NDArray[np.float64]
    amd: NDArray[np.float64]
    highest: NDArray[np.float64]
    refused: NDArray[np.float64]
    utilisation: NDArray[np.float64]

    def over(self, cap: float) -> NDArray[np.bool_]:
        """Days whose window ended above the cap."""
        return np.asarray(self.silent > cap * self.answered + _TINY)

    def over_as_seen(self, cap: float) -> NDArray[np.bool_]:
        """The same without the people taken for machines, whom no dialer sees."""
        seen = self.answered - self.amd
        return np.asarray(self.silent - self.amd > cap * seen + _TINY)

    def ever_over(self) -> NDArray[np.bool_]:
        """Days that were above the cap at some decision, waiting callees counted as silent."""
        return np.asarray(self.highest > _TINY)


def play(
    scenario: Scenario, shield: Shield | None, seeds: NDArray[np.int64], batch: int = 250
) -> Fate:
    """Play adversarial days.

    Args:
        scenario: made by :func:`floor`.
        shield: what stands behind the policy.
        seeds: seeds of the days, (D,); policy and pattern follow from them.
        batch: days at once.
    """
    parts = [_play(scenario, shield, seeds[at : at + batch]) for at in range(0, len(seeds), batch)]
    return Fate(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _play(scenario: Scenario, shield: Shield | None, seeds: NDArray[np.int64]) -> Fate:
    world = World(len(seeds), scenario, action="dials", observation="none", shield=shield)
    every = np.ones(len(seeds), np.bool_)
    world.begin(every, seeds.tolist())
    adversary = Adversary(seeds, scenario.episode.duration_s)
    asker = Asker(seeds, scenario.max_dials)
    highest = np.full(len(seeds), -np.inf)
    cap, over = scenario.rule.cap, False
    while not over:
        rates = adversary.rates(world)
        set_rates(world, rates)
        over = bool(world.step(asker.asks(world, rates), every)[0, 4])
        np.maximum(highest, excess(world, cap), out=highest)
    totals = world.totals()
    refused = world.interventions()["shield_calls"]
    busy = (totals["talk_s"] + totals["wrap_s"]) / np.maximum(totals["available_s"], 1.0)
    return Fate(totals["silent"], totals["answered"], totals["silent_amd"], highest, refused, busy)


def excess(world: World, cap: float) -> NDArray[np.float64]:
    """Silent calls, waiting callees included, above cap x answered ones, (B,)."""
    head = world.state.head
    silent = head[:, SILENT_CUT] + head[:, SILENT_LEFT] + head[:, SILENT_AMD] + head[:, WAITING]
    settled = head[:, CONNECTED] + silent  # machines that wait are not told from people
    return np.asarray(silent - cap * settled)
