"""The exact optimum of the Markov world as a policy of the simulator, to measure gaps against."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.chance import draw
from quietdial.agents.optimal import CAP_RANGE, solve
from quietdial.agents.policy import checked_knob
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.markov import Figures, MarkovWorld, evaluate
from quietdial.envs.pacing.targets import OrderUpTo
from quietdial.envs.scenario import Scenario, load_scenario


@dataclass(frozen=True)
class OptimalMarkov:
    """The exact optimum of a Markov world, played as a policy in the simulator.

    Formula: new dials = max(0, target(busy) - in flight), at most `max_dials`; for one number of
    busy agents the target is drawn anew at every decision. Source: :func:`solve`. It is given the
    true parameters (privileged). Knob: `cap`, allowed silent / answered.

    The draw at a decision is a hash of (seed, everything that the campaign has shown so far), so
    that it is reproducible, differs between campaigns and does not depend on their arrangement.

    Attributes:
        world: the true parameters.
        cap: allowed silent / answered.
        table: the order-up-to table.
        max_dials: most calls that one decision may place.
        seed: of the randomisation, below 2^64.
    """

    world: MarkovWorld
    cap: float
    table: OrderUpTo
    max_dials: int
    seed: int = 0

    name: str = field(default="optimal-markov", init=False, repr=False)
    observation: str = field(default="markov", init=False, repr=False)
    action: str = field(default="dials", init=False, repr=False)
    base_theta: float = field(default=0.02, init=False, repr=False)
    knob_name: str | None = field(default="cap", init=False, repr=False)
    knob_range: tuple[float, float] | None = field(default=CAP_RANGE, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a table that the observation, which shows at most 8 N calls, cannot serve."""
        if self.table.n_agents != self.world.n_agents:
            raise ConfigError(
                f"{self.name}: a table for {self.table.n_agents} agents does not fit "
                f"{self.world.n_agents} agents"
            )
        if self.table.highest > 8 * self.world.n_agents:
            raise ConfigError(
                f"{self.name}: a target of {self.table.highest} calls in flight is more than the "
                f"observation 'markov' shows (8 per agent)"
            )
        if type(self.max_dials) is not int or self.max_dials < 1:
            raise ConfigError(f"{self.name}: max_dials = {self.max_dials!r} must be at least 1")
        if type(self.seed) is not int or not 0 <= self.seed < 2**64:
            raise ConfigError(f"{self.name}: seed = {self.seed!r} must be in 0..2^64 - 1")

    @classmethod
    def of(
        cls, scenario: str | Scenario, cap: float | None = None, *, seed: int = 0
    ) -> OptimalMarkov:
        """The optimum of a scenario such as `markov-10`, at its cap or another one.

        Raises `ConfigError` for a scenario that is not an exactly solvable Markov world.
        """
        loaded = load_scenario(scenario)
        world = MarkovWorld.of(loaded)
        optimum = solve(*world[:4], loaded.rule.cap if cap is None else cap, world[4])
        return cls(world, optimum.cap, optimum.policy, loaded.max_dials, seed)

    @property
    def knob(self) -> float:
        """The cap, silent / answered."""
        return self.cap

    def with_knob(self, value: float) -> OptimalMarkov:
        """Return the optimum at another cap."""
        cap = checked_knob(self.name, "cap", value, CAP_RANGE)
        optimum = solve(*self.world[:4], cap, self.world[4], method="policy-iteration")
        return replace(self, cap=cap, table=optimum.policy)

    def figures(self) -> Figures:
        """Exact averages with at most `max_dials` calls a decision; :func:`solve` sets no limit."""
        calls = np.arange(self.table.highest + 1)
        p_dials = np.zeros((self.table.n_agents + 1, len(calls), self.max_dials + 1))
        busy = np.arange(self.table.n_agents + 1)[:, None]
        p_high = np.asarray(self.table.p_high)[:, None]
        for targets, weight in ((self.table.low, 1.0 - p_high), (self.table.high, p_high)):
            dials = np.clip(np.asarray(targets)[:, None] - calls, 0, self.max_dials)
            np.add.at(p_dials, (busy, calls, dials), weight)
        return evaluate(p_dials, *self.world)

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.int64], object | None]:
        """Return the calls to place in every campaign, int64 (B,), and the hash of its past."""
        shown = np.asarray(obs, dtype=np.float64)
        if shown.ndim != 2 or shown.shape[1] != 2:
            raise ConfigError(
                f"{self.name}: observations of shape {shown.shape} given; expected (batch, 2)"
            )
        counts = np.rint(shown * self.world.n_agents).astype(np.int64)
        busy, calls = np.clip(counts[:, 0], 0, self.world.n_agents), counts[:, 1]
        if isinstance(state, np.ndarray) and state.dtype == np.uint64 and len(state) == len(shown):
            past = state
        else:
            past = np.full(len(shown), self.seed, np.uint64)
        seen = (busy.astype(np.uint64) << np.uint64(32)) + calls.astype(np.uint64)
        u, past = draw(past, seen)
        bold = u < np.asarray(self.table.p_high)[busy]
        targets = np.where(
            bold, np.asarray(self.table.high)[busy], np.asarray(self.table.low)[busy]
        )
        return np.clip(targets - calls, 0, self.max_dials), past
