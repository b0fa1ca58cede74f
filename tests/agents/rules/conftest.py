"""What the tests of controllers share: a floor as plain numbers, shown to compiled rules."""

import ctypes
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from quietdial.envs.pacing import state as places
from quietdial.envs.pacing.book import make_book
from quietdial.envs.pacing.controllers.plug import controller_of
from quietdial.envs.pacing.jit import entry_point
from quietdial.envs.pacing.params import KNOB_AT
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import load_scenario

SLOT_MS = 15_000


class Seen(NamedTuple):
    """What a dialer sees of a plain floor at one moment; counts are those of the episode."""

    t_ms: int = 0
    idle: int = 0
    talks_ms: tuple[int, ...] = ()  # how long each conversation under way has lasted
    wraps: int = 0
    waiting: int = 0
    in_flight: int = 0
    picked: int = 0
    failed: int = 0  # ended without a pick-up
    connected: int = 0
    dropped: int = 0
    rings_s: int = 0  # from dial to pick-up, summed
    talked_ms: int = 0  # of finished conversations
    wrapped_ms: int = 0  # of all wrap-ups so far

    @property
    def dialed(self) -> int:
        return self.ended + self.in_flight

    @property
    def ended(self) -> int:
        return self.picked + self.failed


class Books:
    """Statistics of a plain floor, from a history of what was seen at every tick."""

    def __init__(self) -> None:
        self.begin: Seen | None = None
        self.slots: dict[int, Seen] = {}
        self.now = Seen()

    def note(self, seen: Seen) -> None:
        self.begin = self.begin or Seen()
        self.slots.setdefault(seen.t_ms // SLOT_MS, seen)
        self.now = seen

    def lately(self, name: str, window_s: float) -> int:
        """Since the first tick of the first slot of 15 s that begins within the window."""
        first = -(-(self.now.t_ms - round(window_s * 1000)) // SLOT_MS)
        before = Seen()
        if 0 < first <= self.now.t_ms // SLOT_MS:
            before = self.slots[first]
        return int(getattr(self.now, name) - getattr(before, name))


class Desk:
    """A compiled controller that looks at tables filled by hand."""

    def __init__(self, name: str) -> None:
        controller = controller_of(name)
        self.world = World(
            1, "study-stat-25", observation="none", action="controller", controller=name
        )
        self.state, self.params = self.world.state, self.world.params
        self.names = [setting.name for setting in controller.settings]
        self._code: Any = entry_point(controller.tick).ctypes
        self._book = make_book(self.state, self.params)

    def begin(self, settings: dict[str, float]) -> None:
        """A new episode with these settings."""
        self.state.memo[:] = 0.0
        self.state.tape[:] = 0
        self.state.head[:] = 0
        self.params.settings[:] = [settings[name] for name in self.names]
        self.params.n[KNOB_AT] = -1

    def ask(self, seen: Seen) -> int:
        """Dials that the controller places when it sees this."""
        s, n, head = self.state, len(seen.talks_ms), self.state.head[0]
        states = [places.TALK] * n + [places.IDLE] * seen.idle + [places.WRAP] * seen.wraps
        states += [places.BREAK] * (25 - len(states))
        since = [seen.t_ms - elapsed for elapsed in seen.talks_ms]
        s.agent[0, :, places.AGENT_STATE] = states
        s.agent[0, :n, places.AGENT_SINCE] = since
        head[places.COUNT + places.TALK] = n
        head[places.COUNT + places.IDLE] = seen.idle
        head[places.COUNT + places.WRAP] = seen.wraps
        head[places.ACC + places.TALK] = seen.talked_ms - sum(since)
        head[places.ACC + places.WRAP] = seen.wrapped_ms - seen.wraps * seen.t_ms
        head[places.NOW], head[places.WAITING] = seen.t_ms, seen.waiting
        head[places.IN_FLIGHT], head[places.ANSWERED] = seen.in_flight, seen.picked
        head[places.MACHINES], head[places.CONNECTED] = seen.failed, seen.connected
        head[places.SILENT_CUT], head[places.RING_S] = seen.dropped, seen.rings_s
        head[places.CONVERSATIONS], head[places.DIALED] = seen.connected, seen.dialed
        return int(self._code(ctypes.c_int64(self._book.ctypes.data), ctypes.c_int64(0)))


def watch(world: World) -> Seen:
    """What is seen of the first row of a plain world."""
    head, agent = world.state.head[0], world.state.agent[0]
    now = int(head[places.NOW])
    since = agent[agent[:, places.AGENT_STATE] == places.TALK, places.AGENT_SINCE]
    ended = head[places.MACHINES : places.MACHINES + 5].sum()
    wraps = int(head[places.COUNT + places.WRAP])
    return Seen(
        t_ms=now,
        idle=int(head[places.COUNT + places.IDLE]),
        talks_ms=tuple(int(now - t) for t in since),
        wraps=wraps,
        waiting=int(head[places.WAITING]),
        in_flight=int(head[places.IN_FLIGHT]),
        picked=int(head[places.ANSWERED]),
        failed=int(ended),
        connected=int(head[places.CONNECTED]),
        dropped=int(head[places.SILENT_CUT] + head[places.SILENT_LEFT]),
        rings_s=int(head[places.RING_S]),
        talked_ms=int(head[places.ACC + places.TALK] + since.sum()),
        wrapped_ms=int(head[places.ACC + places.WRAP] + wraps * now),
    )


def played(seed: int, dial: Callable[[Seen], int], tick_s: float, n_ticks: int) -> Iterator[int]:
    """A crude random floor that follows `dial`, one tick after the other; yields the dials."""
    draw = random.Random(seed)
    n_agents = draw.randint(1, 25)
    p, drops, talk_s = draw.uniform(0.05, 0.9), draw.uniform(0.05, 0.9), draw.choice((20, 100))
    seen, steps = Seen(), (tick_s, tick_s, 5.0, 14.0)
    talks: list[int] = []
    for _ in range(n_ticks):
        dt_ms = round(1000 * draw.choice(steps))
        talks = [age + dt_ms for age in talks]
        over = [age for age in talks if draw.random() < dt_ms / 1000 / talk_s]
        talks = [age for age in talks if age not in over]
        rested = sum(draw.random() < dt_ms / 10_000 for _ in range(seen.wraps))
        ended = sum(draw.random() < dt_ms / 12_000 for _ in range(seen.in_flight))
        picked = sum(draw.random() < p for _ in range(ended))
        wraps = min(seen.wraps - rested + len(over), n_agents - len(talks))
        idle, queue = n_agents - len(talks) - wraps, seen.waiting + picked
        taken = min(idle, queue)
        talks += [draw.randrange(dt_ms) for _ in range(taken)]
        lost = sum(draw.random() < drops for _ in range(queue - taken))
        seen = Seen(
            t_ms=seen.t_ms + dt_ms,
            idle=idle - taken,
            talks_ms=tuple(talks),
            wraps=wraps,
            waiting=queue - taken - lost,
            in_flight=seen.in_flight - ended,
            picked=seen.picked + picked,
            failed=seen.failed + ended - picked,
            connected=seen.connected + taken,
            dropped=seen.dropped + lost,
            rings_s=seen.rings_s + sum(draw.randint(0, 30) for _ in range(picked)),
            talked_ms=seen.talked_ms + sum(over),
            wrapped_ms=seen.wrapped_ms + wraps * dt_ms,
        )
        dials = dial(seen)
        yield dials
        seen = seen._replace(in_flight=min(seen.in_flight + dials, 150))


@pytest.fixture(scope="session")
def seen() -> type[Seen]:
    """A plain floor at one moment."""
    return Seen


@pytest.fixture(scope="session")
def books() -> type[Books]:
    """Statistics from a history of what was seen."""
    return Books


@pytest.fixture(scope="session")
def desk() -> Callable[[str], Desk]:
    """Controllers that look at tables filled by hand, one for each name."""
    return functools.cache(Desk)


@pytest.fixture(scope="session")
def same_series() -> Callable[..., int]:
    """Compare a compiled controller with a transcription on random series; the dials in all."""

    def compare(at: Desk, draw_rule: Any, transcribe: Any, tick_s: float) -> int:
        dialed = 0
        for seed in range(200):
            rule = draw_rule(random.Random(seed))
            at.begin(rule.settings)
            other = transcribe(rule)

            def dial(now: Seen, other: Any = other, rule: Any = rule) -> int:
                dials, expected = at.ask(now), other.dials(now)
                assert dials == expected, (rule, now)
                assert dials >= 0
                return dials

            dialed += sum(played(seed, dial, tick_s, 60))
        return dialed

    return compare


@pytest.fixture(scope="session")
def same_world() -> Callable[..., int]:
    """Compare what a world places at every tick with a transcription; the dials in all."""

    def compare(rule: Any, transcribe: Any, minutes: float, preset: str = "study-real-10") -> int:
        scenario = _ticking(preset, rule.card.tick_s)
        world = World(1, scenario, observation="none", action="controller", **rule.world_options)
        everywhere, other = np.ones(1, np.bool_), transcribe(rule)
        actions, _ = rule.act(world.observe())
        world.begin(everywhere, [7])
        before = 0
        for _ in range(round(minutes * 60 / rule.card.tick_s)):
            world.step(actions, everywhere)
            dialed = int(world.state.head[0, places.DIALED])
            now = watch(world)
            free = int(world.state.head[0, places.FREE]) + dialed - before
            expected = other.dials(now._replace(in_flight=now.in_flight - dialed + before))
            assert dialed - before == min(expected, free), now
            before = dialed
        return before

    return compare


def _ticking(preset: str, tick_s: float) -> Any:
    """The preset with a decision at every tick."""
    scenario = load_scenario(preset)
    episode = scenario.episode.model_copy(update={"decision_interval_s": tick_s})
    return scenario.model_copy(update={"episode": episode})
