"""The loop of docs/pacer.md paces a simulated floor."""

from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.write import write_policy
from quietdial.agents.runtime_feed import LogFeed
from quietdial.envs.pacing.world import World

from .test_bundled import seen_of

BEGIN_MS = 1_772_442_000_000  # Monday, 2 March 2026, 10:00 in Rome


class Recorder:
    """Takes the feed's events down as a dialer's own tuples, in Unix time."""

    def __init__(self):
        self.events = []

    def __getattr__(self, what):
        def told(*arguments, **named):
            if what in ("agent", "ended", "picked_up", "connected", "dropped"):
                name, at_ms, *more = arguments
                self.events.append((what, name, BEGIN_MS + at_ms, *more))

        return told


class SimulatedDialer:
    """A dialer whose floor is the simulator."""

    def __init__(self, scenario, steps):
        self.world = World(1, scenario, action="dials", observation="none", records=True)
        self.world.begin(np.ones(1, np.bool_), [5])
        self.told: Any = Recorder()
        self.feed = LogFeed(self.world, self.told)
        self.feed.after_step()
        self.steps, self.people, self.placed, self.decisions = steps, 0, 0, []

    def hours_ms(self):
        return BEGIN_MS, BEGIN_MS, BEGIN_MS + 28_000_000, BEGIN_MS + 28_800_000

    def now_ms(self):
        return BEGIN_MS + round(1000 * self.world.clock_s()[0])

    def is_open(self):
        return len(self.decisions) < self.steps

    def events(self):
        taken, self.told.events = self.told.events, []
        return taken

    def next_person(self):
        self.people += 1
        return f"hash-{self.people}"

    def place(self, person):
        self.placed += 1
        return str(self.world.totals()["dialed"][0].astype(int) + self.placed - 1)

    def wait_until(self, decision):
        self.decisions.append(decision)
        self.world.step(np.array([self.placed]), np.ones(1, np.bool_))
        self.placed = 0
        self.feed.after_step()


@pytest.fixture
def pace(repository):
    text = (repository / "docs" / "pacer.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    names = {}
    exec(compile(code, "docs/pacer.md", "exec"), names)
    return names["pace"]


def test_example__paces_a_floor(pace, make_policy, scenario, tmp_path):
    folder = write_policy(make_policy(), scenario, tmp_path / "b", seen=seen_of(), vectors=100)
    dialer = SimulatedDialer(scenario, 2500)
    pace(dialer, folder)
    modes = {decision.mode for decision in dialer.decisions}
    assert modes == {"progressive", "policy"}  # the cold start, then the policy
    assert dialer.decisions[0].reason.startswith("cold start")
    totals = dialer.world.totals()
    assert totals["connected"][0] > 60
    assert totals["silent"][0] <= 0.03 * totals["answered"][0]
