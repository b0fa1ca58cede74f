"""Writes down every decision of a simulated policy: what was placed, and with which probability."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.exploring import chances_of_dials
from quietdial.agents.policy import Policy
from quietdial.envs.pacing import log
from quietdial.envs.pacing.params import N_PEOPLE
from quietdial.envs.pacing.state import CALLERS, PEOPLE_DONE
from quietdial.envs.pacing.world import World
from quietdial.envs.records import DecisionRecord


class DecisionNotes:
    """Notes the decisions of a batch of campaigns.

    Args:
        policy: who decides.
        world: a world with `records=True`.
        first: number of the campaign in row 0.
        sink: where the records go.
    """

    def __init__(
        self,
        policy: Policy,
        world: World,
        first: int,
        sink: Callable[[Sequence[DecisionRecord]], None],
    ) -> None:
        self._policy, self._world, self._first, self._sink = policy, world, first, sink
        self._number = 0
        self._chances = np.ones(world.n_campaigns)
        self._at_ms = np.zeros(world.n_campaigns, np.int64)
        self._left: list[float] = []
        self._callers: list[int] = []

    def decided(
        self, obs: NDArray[np.float32], state: object | None, actions: NDArray[np.int64]
    ) -> None:
        """The policy has chosen; the world has not moved yet.

        Args:
            obs: what it observed.
            state: its state before.
            actions: what it chose.
        """
        world = self._world
        self._chances = chances_of_dials(self._policy, world, obs, state, actions)
        self._at_ms = np.rint(1000 * world.clock_s()).astype(np.int64)
        more, people = world.state.more, int(world.params.n[N_PEOPLE])
        done = more[:, PEOPLE_DONE].tolist()
        self._left = [1.0 - d / people if people else 1.0 for d in done]
        self._callers = more[:, CALLERS].tolist()

    def played(self, rows: Sequence[NDArray[np.int64]], active: NDArray[np.bool_]) -> None:
        """The world has moved.

        Args:
            rows: what it logged, for each campaign.
            active: campaigns that were played.
        """
        decisions = [
            DecisionRecord(
                self._first + b,
                self._number,
                int(self._at_ms[b]),
                int(((rows[b][:, 1] == log.DIAL) & (rows[b][:, 4] < 0)).sum()),
                None if np.isnan(self._chances[b]) else float(self._chances[b]),
                self._left[b],
                self._callers[b],
            )
            for b in np.flatnonzero(active).tolist()
        ]
        self._number += 1
        self._sink(decisions)
