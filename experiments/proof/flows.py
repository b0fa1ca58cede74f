"""Part `flows` of the proof: nothing is lost in random sequences of random worlds.

Hypothesis chooses the world (any combination of all features, or a plain one), the kind and style
of the actions, the seeds, which rows are played, which are begun again, and for how long; each
row of a batch then has actions of its own, so each is one sequence. `players.Player` says what is
checked at every step.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.experiments.proof.parts import Figure, Report, failures

__all__ = ["SEQUENCES", "play", "require_hypothesis", "run"]

SEQUENCES = 10_240
"""Random sequences of the whole proof, at least."""
FEWEST = 256
ROWS = 32
"""Campaigns of a world, each with a sequence of its own."""
_ACTIONS = ("residual", "dials", "threshold", "theta", "ratio", "progressive", "blend")


def require_hypothesis() -> None:
    """Raise `ConfigError` with one line unless hypothesis is installed."""
    if importlib.util.find_spec("hypothesis") is None:
        raise ConfigError(
            "parts 'flows' and 'planted' of the proof need hypothesis, which is not installed; "
            "install the extra 'dev': pip install 'quietdial[dev]'"
        )


def play(worlds: int, *, full: bool, rows: int = ROWS, report: Any = None) -> tuple[int, int]:
    """Play random sequences in so many random worlds; (sequences, steps of all rows).

    Args:
        worlds: number of worlds.
        full: worlds with features of the full kernel, else plain ones.
        rows: campaigns of each.
        report: called with the number of finished worlds.

    Raises:
        ContractError: an invariant does not hold; hypothesis adds the sequence as a note.
        ConfigError: hypothesis is missing.
    """
    require_hypothesis()
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import strategies as st
    from hypothesis.stateful import (
        RuleBasedStateMachine,
        initialize,
        rule,
        run_state_machine_as_test,
    )

    from quietdial.experiments.proof.flow_worlds import full_world, plain_world
    from quietdial.experiments.proof.players import Player

    count = {"worlds": 0, "steps": 0}
    seeds = st.integers(0, 2**32)
    masks = st.integers(1, 2**rows - 1)  # one bit for each row
    styles = st.sampled_from(["all", "few", "bursts"])

    def chosen(mask: int) -> NDArray[np.bool_]:
        return np.array([mask >> row & 1 for row in range(rows)], np.bool_)

    class Sequences(RuleBasedStateMachine):
        player: Player | None = None

        @initialize(
            number=seeds,
            action=st.sampled_from(_ACTIONS),
            cancels=st.booleans(),
            start=st.sampled_from(["open", "open", "random"]),
            observation=st.sampled_from(["full", "full", "counters", "markov"]),
            seed=seeds,
        )
        def open(
            self, number: int, action: str, cancels: bool, start: str, observation: str, seed: int
        ) -> None:
            number += 1_000_003 * count["worlds"]  # hypothesis likes to repeat small numbers
            scenario = full_world(number) if full else plain_world(number)
            if cancels and scenario.rule.may_cancel:
                action = "dials_or_cancel"
            elif not full and action == "blend":
                action = "dials"
            self.player = Player(scenario, rows, action, start, observation)
            self.player.begin(np.ones(rows, np.bool_), [seed + i for i in range(rows)])

        @rule(steps=st.integers(1, 15), seed=seeds, style=styles)
        def play(self, steps: int, seed: int, style: str) -> None:
            assert self.player is not None  # noqa: S101
            self.player.play(steps, seed, style=style)

        @rule(steps=st.integers(1, 4), seed=seeds, mask=masks)
        def play_some(self, steps: int, seed: int, mask: int) -> None:
            assert self.player is not None  # noqa: S101
            self.player.play(steps, seed, chosen(mask))

        @rule(mask=masks)
        def begin_again(self, mask: int) -> None:
            assert self.player is not None  # noqa: S101
            which = chosen(mask) | self.player.over
            self.player.begin(which)

        @rule(mask=masks, seed=seeds)
        def begin_anew(self, mask: int, seed: int) -> None:
            assert self.player is not None  # noqa: S101
            self.player.begin(chosen(mask), [seed + 3 * i for i in range(rows)])

        def teardown(self) -> None:
            """Play every row to its end."""
            if self.player is not None:
                self.player.play(250, 1, style="few")
                count["worlds"] += 1
                count["steps"] += self.player.number
                if report is not None:
                    report(count["worlds"])

    run_state_machine_as_test(
        Sequences,
        settings=settings(
            max_examples=worlds,
            stateful_step_count=4,
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
        ),
    )
    return count["worlds"] * rows, count["steps"] * rows


def run(scale: float, report: Report) -> list[Figure]:
    """The part of the proof; a smaller `scale` plays fewer sequences.

    Args:
        scale: share of `SEQUENCES`.
        report: told what is done.

    Returns:
        Broken invariants in sequences of full and of plain worlds (must be 0).
    """
    wanted = max(FEWEST, round(SEQUENCES * scale))
    figures = []
    for name, full, share, before in (("full", True, 0.8, 0.0), ("plain", False, 0.2, 0.8)):
        worlds = -(-round(wanted * share) // ROWS)

        def tell(done: int, *, n: int = worlds, at: float = before, part: float = share) -> None:
            report(f"flows: world {done}", at + part * min(done / n, 1.0))

        try:
            sequences, steps = play(worlds, full=full, report=tell)
            found = []
        except AssertionError as error:
            sequences, steps, found = worlds * ROWS, 0, [str(error)[:400]]
        what = (
            f"random sequences of {worlds} random {name} worlds, {steps} decisions in all: "
            "conservation of agents, calls, people and callers, Little's law, time, hard rules, "
            "order, windows, log against totals, observation against its twin"
        )
        figures.append(failures(f"flows/{name}/broken", found, sequences, what))
    return figures
