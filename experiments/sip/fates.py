"""The simulator's draws, handed to the telephone network and to the virtual agents.

The k-th dial of a campaign has the same fate and its k-th conversation the same length whatever the
policy does (docs/mechanisms.md), so SIPp's callees and the dialer's agents can live the very draws
of a simulated day, and the two are compared on common random numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import chance
from quietdial.envs.pacing.params import (
    ENDING_CODE,
    ENDING_P,
    HAS_PATIENCE,
    HAS_WRAP,
    LAW_ANSWER,
    LAW_ENDING,
    LAW_PATIENCE,
    LAW_TALK,
    LAW_WRAP,
    P_FIXED,
    RING_TIMEOUT_MS,
)
from quietdial.envs.pacing.state import BUSY, INVALID, KEY, NO_ANSWER, PERSON
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario
from quietdial.experiments.sip.callees import Fate

_NAMES: Final = {
    int(PERSON): "person",
    int(BUSY): "busy",
    int(INVALID): "invalid",
    int(NO_ANSWER): "no_answer",
}
_FOR_EVER_MS: Final = 3_600_000


class Draws:
    """The draws of one simulated day of a scenario with a constant answer rate.

    Args:
        scenario: an anonymous list, one kind of agents, no machines, no set-up.
        seed: seed of the day.

    Raises:
        ConfigError: the scenario has something that the SIP loop does not play.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        calls, floor = scenario.calls, scenario.floor
        outcomes = {part.outcome for part in calls.unanswered}
        if (
            calls.answer_rate.kind != "constant"
            or not outcomes <= set(_NAMES.values())
            or any((calls.setup, calls.leads, calls.greeting, scenario.people, scenario.inbound))
            or any((floor.breaks, floor.shifts, floor.talk_drift, floor.talk_day_sd))
            or floor.speed_sd
        ):
            raise ConfigError(
                f"scenario {scenario.name!r}: the SIP loop plays a constant answer rate and people "
                "who are busy, do not answer or have no such number, and agents without breaks"
            )
        world = World(1, scenario, observation="none", action="dials")
        world.begin(np.ones(1, np.bool_), [seed])
        self._key = world.state.head[:, KEY].view(np.uint64)[0]
        self._params = world.params

    def _ms(self, law: int, purpose: np.uint64, number: int) -> int:
        drawn = np.uint64(chance.draw(self._key, purpose, number))
        return int(chance.duration_ms(self._params.tables, law, drawn))

    def fate(self, dial: int, number: int) -> Fate:
        """What becomes of a dial, counted from 0, to a telephone number."""
        n, key = self._params.n, self._key
        outcome, law = int(PERSON), int(LAW_ANSWER)
        if int(chance.draw(key, chance.DIAL_OUTCOME, dial)) >> 32 >= n[P_FIXED]:
            u = int(chance.draw(key, chance.DIAL_ENDING, dial)) >> 32
            ending = 0
            while u >= n[ENDING_P + ending]:
                ending += 1
            outcome, law = int(n[ENDING_CODE + ending]), int(LAW_ENDING) + ending
        ring_ms = self._ms(law, chance.DIAL_TIME, dial)
        patience_ms = _FOR_EVER_MS
        if n[HAS_PATIENCE]:
            patience_ms = self._ms(int(LAW_PATIENCE), chance.DIAL_PATIENCE, dial)
        timeout_ms = int(n[RING_TIMEOUT_MS])
        name = _NAMES[outcome]
        if name == "person" and 0 < timeout_ms < ring_ms:
            patience_ms = _FOR_EVER_MS  # the dialer gives up before
        return Fate(number, name, ring_ms, patience_ms)

    def conversation(self, number: int) -> tuple[int, int]:
        """Length of talk and wrap-up of a conversation, counted from 0 [ms]."""
        talk_ms = max(self._ms(int(LAW_TALK), chance.TALK_TIME, number), 1)
        wrap_ms = 0
        if self._params.n[HAS_WRAP]:
            wrap_ms = self._ms(int(LAW_WRAP), chance.WRAP_TIME, number)
        return talk_ms, wrap_ms
