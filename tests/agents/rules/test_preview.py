"""Preview dialing: free slots by hand, against slots that are told apart, and in a world."""

from typing import Any

import numpy as np
import pytest

from quietdial.agents.policy import Policy
from quietdial.agents.rules import Preview, Progressive
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import state as at
from quietdial.envs.pacing.controllers.plug import controller_of
from quietdial.envs.pacing.controllers.preview import preview_dials
from quietdial.envs.pacing.world import World

MEMO = controller_of("preview").memo


def test_preview_dials__by_hand() -> None:
    memo = np.zeros(MEMO)
    # two ticks of preview; free agents and dials so far -> dials now
    for free, dialed, expected in (
        (2, 0, 0),  # too early
        (3, 0, 0),  # too early
        (3, 0, 2),  # least of 2, 3, 3 is 2
        (1, 2, 1),  # sums 3, 3, 3: three have been free for so long, two of them were dialed
        (1, 3, 0),  # sums 3, 3, 4: three, all dialed; the agent who is free has come at this tick
        (2, 3, 0),  # sums 3, 4, 5
        (2, 3, 1),  # sums 4, 5, 5
        (0, 4, 0),  # sums 5, 5, 4: the second agent has left
    ):
        assert preview_dials(memo, 2, free, dialed) == expected


def test_preview_dials__no_preview_is_progressive() -> None:
    memo = np.zeros(MEMO)
    assert [preview_dials(memo, 0, free, 0) for free in (3, 0, 2)] == [3, 0, 2]


class Slots:
    """Free agents as a list of the ticks since which they have been free."""

    def __init__(self) -> None:
        self.since: list[int] = []

    def tick(self, now: int, free: int, ticks: int) -> int:
        while len(self.since) > free:  # who leaves has been free for the shortest time
            self.since.pop()
        self.since += [now] * (free - len(self.since))
        ready = [since for since in self.since if now - since >= ticks] if now >= ticks else []
        self.since = self.since[len(ready) :]  # the longest free are dialed
        return len(ready)


def test_preview_dials__is_what_slots_do_in_random_series() -> None:
    rng = np.random.default_rng(2)
    dials = 0
    for series in range(250):
        memo, slots, dialed, free = np.zeros(MEMO), Slots(), 0, int(rng.integers(0, 8))
        ticks = int(rng.integers(0, 7))
        for now in range(int(rng.integers(20, 400))):
            expected = slots.tick(now, free, ticks)
            assert preview_dials(memo, ticks, free, dialed) == expected, (series, now)
            dialed += expected
            free = max(free - expected + int(rng.integers(-1, 3) * (rng.random() < 0.6)), 0)
            free = min(free, 9)
        dials += dialed
    assert dials > 10_000


def test_preview__in_a_world_every_dial_has_had_its_preview() -> None:
    rule = Preview(4.0)
    world = World(1, "study-real-10", observation="none", action="controller", **rule.world_options)
    every, knob = np.ones(1, np.bool_), np.full((1, 1), rule.knob, np.float32)
    world.begin(every, [3])
    slots, total = Slots(), 0
    for now in range(1800):
        before = int(world.state.head[0, at.DIALED])
        world.step(knob, every)
        head = world.state.head[0]
        placed = int(head[at.DIALED]) - before
        free = int(head[at.COUNT + at.IDLE] - head[at.WAITING] - head[at.IN_FLIGHT]) + placed
        assert placed == slots.tick(now, free, 4)
        assert free - placed >= 0
        total += placed
    assert total > 150


def hours(rule: Any, name: str, seconds: int) -> dict[str, float]:
    world = World(4, name, observation="none", action=rule.action, **rule.world_options)
    every = np.ones(4, np.bool_)
    world.begin(every, list(range(4)))
    world.hold(rule.act(np.zeros((4, 0)))[0], every, seconds)
    return {key: float(values.sum()) for key, values in world.totals().items()}


def test_preview__is_never_silent_and_slower_than_progressive() -> None:
    dialed = [hours(Preview(s), "study-real-10", 7200)["dialed"] for s in (0.0, 5.0, 20.0)]
    assert dialed[0] > dialed[1] > dialed[2] > 300
    assert hours(Preview(0.0), "study-real-10", 7200)["silent"] == 0
    assert dialed[0] == pytest.approx(
        hours(Progressive(), "study-real-10", 7200)["dialed"], rel=0.01
    )


def test_preview__in_full_worlds() -> None:
    for name in ("italy-month-10", "contactcenters-blend"):
        totals = hours(Preview(5.0), name, 28_800)
        assert totals["answered"] > 100
        assert totals["silent"] < 0.01 * totals["answered"]  # agents who leave at a log-out


def test_preview__is_a_policy() -> None:
    assert isinstance(Preview(), Policy)
    assert Preview(7.5).knob == 7.5
    with pytest.raises(ConfigError, match="preview_s = 301 must be a number between 0 and 300"):
        Preview(301)
