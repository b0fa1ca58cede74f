"""The checks that a changed kernel must not pass: a small battery for `planted`.

`python -m quietdial.experiments.proof.battery` plays the checks in order in this process, stops at
the first that fails, and writes one line of JSON: {"found": name of the check or null, "why": ...}.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.pacing import chance, features, log, plain
from quietdial.envs.pacing import world as world_module
from quietdial.envs.pacing.full import kernel
from quietdial.envs.pacing.params import OU_KEEP, OU_NOISE, P_JUMP
from quietdial.envs.pacing.spec import OBSERVATIONS
from quietdial.envs.pacing.state import (
    BREAK,
    CANCELLED,
    DAY_P0,
    DAY_TURN,
    DRIFT_X,
    KEY,
    P_ANSWER,
    TALK,
    TALK_DAY,
    TALK_FACTOR,
    TALK_TURN,
    TALK_X,
    WRAP,
)
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import DriftingAnswer
from quietdial.experiments.proof import flows
from quietdial.experiments.proof.by_hand import CASES, kernel_totals, world, wrong
from quietdial.experiments.proof.reference_worlds import SCENARIOS, small_world, uniform
from quietdial.experiments.proof.seeds import same_fates, trajectories

__all__ = ["CHECKS", "first_found", "main"]

Told = Iterator[str]
Z_LIMIT = 5.0
"""|z| of a correlation above which two draws are not independent: false alarms 6e-7 each."""


def by_hand() -> Told:
    """Every world worked out by hand, in the full kernel and in the plain one where it can."""
    for full in (False, True):
        for name, case in CASES.items():
            yield from (f"{name}: {line}" for line in wrong(case, kernel_totals(case, full=full)))


def sequences() -> Told:
    """Random sequences of a few random worlds."""
    for full, worlds in ((False, 8), (True, 40)):
        flows.play(worlds, full=full, rows=4)
        yield from ()


def hidden_levels() -> Told:
    """The answer rate and the talk factor move as `Drift` says, step by step."""
    scenario = SCENARIOS["drift"].scenario
    rate, talk = scenario.calls.answer_rate, scenario.floor.talk_drift
    if not isinstance(rate, DriftingAnswer) or talk is None:
        raise TypeError("world 'drift' of the comparison must drift")
    played = World(1, scenario, observation="none", action="dials")
    every = np.ones(1, np.bool_)
    played.begin(every, [5])
    key, x = np.uint64(played.state.head[0, KEY]), played.params.x
    at, jumps = float(played.state.est[0, DRIFT_X]), 0
    for t in range(1, 1700):
        played.step(np.zeros(1, np.int64), every)
        est, head = played.state.est[0], played.state.head[0]
        if t % round(rate.update_s) == 0:
            number = np.int64(t // round(rate.update_s))

            def normal(purpose: np.uint64, k: np.int64 = number) -> float:
                u = np.uint64(chance.draw(key, purpose, k))
                return float(chance.normal(played.params.curves, u))

            at = float(x[OU_KEEP]) * at + float(x[OU_NOISE]) * normal(chance.DRIFT_NOISE)
            u = int(chance.draw(key, chance.JUMP, number)) >> 32
            if u < played.params.n[P_JUMP]:
                at += rate.jump_sd * normal(chance.JUMP_SIZE)
                jumps += 1
        if abs(at - est[DRIFT_X]) > 1e-9:
            yield f"drift of the answer rate is {est[DRIFT_X]} at {t} s, not {at}"
            return
        for name, drift, level, turn, value, found in (
            ("answer rate", rate, est[DAY_P0], est[DAY_TURN], at, head[P_ANSWER] / 2**32),
            ("talk factor", talk, est[TALK_DAY], est[TALK_TURN], est[TALK_X], None),
        ):
            held_s = t // drift.update_s * drift.update_s
            turns = held_s / drift.season_period_s + turn
            season = 1 + drift.season_amplitude * math.sin(2 * math.pi * turns)
            exact = level * season * math.exp(value)
            got = head[TALK_FACTOR] / 2**20 if found is None else found
            if found is not None:
                exact = min(max(exact, 0.001), 0.95)
            if abs(got / exact - 1) > 1e-3:
                yield f"{name} is {got} at {t} s, not {exact}"
                return
    if not jumps:
        yield "no jump in the whole session"


def feed() -> Told:
    """With a delayed feed the dialer sees the agents of so long ago."""
    fields = [field.name for field in OBSERVATIONS["counters"]]
    column = fields.index("talk_share")
    for steps in (1, 3):
        seen = []
        for delay in (0, steps):
            scenario = small_world(
                "feed", calls={"ring_timeout_s": 30}, belief={"feed_delay_s": delay}
            )
            played = World(1, scenario, observation="counters", action="dials")
            every = np.ones(1, np.bool_)
            played.begin(every, [3])
            rows = [played.observe()[0, column]]
            for t in range(200):
                played.step(np.array([t % 2]), every)
                rows.append(played.observe()[0, column])
            seen.append(rows)
        if seen[1][steps:] != seen[0][:-steps] or len(set(seen[0])) < 3:
            yield f"a feed delayed by {steps} decisions shows other agents"


def common_random_numbers() -> Told:
    """The policy changes no fate and no hidden level."""
    for name in ("retries", "plain"):
        told, common = same_fates(SCENARIOS[name].scenario, 1, 400)
        yield from told[:1]
        if common < 30:
            yield f"{name}: only {common} attempts in common"


def batches() -> Told:
    """A row is the same alone and among others, and other than they."""
    for name in ("everything", "plain"):
        scenario = SCENARIOS[name].scenario
        rows = trajectories(scenario, [7, 8, 9], 40)
        if rows[1:2] != trajectories(scenario, [8], 40) or len(set(rows)) < 3:
            yield f"{name}: rows depend on each other or are alike"


def cancelling() -> Told:
    """Only calls that have rung long enough are cancelled, the youngest first."""
    scenario = world(
        calls={"max_dials_per_decision": 5}, rule={"may_cancel": True, "min_ring_s": 4}
    )
    played = World(1, scenario, observation="none", action="dials_or_cancel", records=True)
    every = np.ones(1, np.bool_)
    played.begin(every, [1])
    cancelled = []
    # dials 0 and 1 at 0, 2 at 1, 3 at 2; cancelled are, at 3: none; at 5: one of two calls that
    # rang 4 s, the youngest of them is 2; at 6: as many as there are
    for t, action in enumerate((2, 1, 1, -3, 0, -1, -5, 0)):
        played.step(np.array([5 + action]), every)
        for _, code, number, x, _, _ in played.drain_log()[0].tolist():
            if code == log.ENDED and x == CANCELLED:
                cancelled.append((t, number))
    if cancelled != [(5, 2), (6, 3), (6, 1), (6, 0)]:
        yield f"cancelled (time, dial): {cancelled}"


def own_speed() -> Told:
    """An agent's own factor holds for talk and wrap-up alike."""
    floor = {
        "n_agents": 30,
        "talk": {"kind": "constant", "value_s": 30},
        "wrap": {"kind": "constant", "value_s": 15},
        "speed_sd": 0.5,
    }
    played = World(1, world(floor=floor), observation="none", action="dials")
    every = np.ones(1, np.bool_)
    played.begin(every, [2])
    for t in range(250):
        played.step(np.array([30 if t == 0 else 0]), every)
    totals = played.totals()
    talk_s, wrap_s = float(totals["talk_s"][0]), float(totals["wrap_s"][0])
    if abs(talk_s - 2 * wrap_s) > 0.1 or abs(talk_s - 900) < 1:
        yield f"talk {talk_s} s and wrap-up {wrap_s} s do not go with one speed"


def independence() -> Told:
    """What the draws of one call decide is uncorrelated."""
    for full in (False, True):
        for pair, (a, b) in _pairs(full=full).items():
            r = float(np.corrcoef(a, b)[0, 1])
            if abs(r) * math.sqrt(len(a)) > Z_LIMIT:
                yield f"{pair} are correlated: r = {r:.2f} of {len(a)}"


def _pairs(*, full: bool) -> Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Talk and wrap-up, wrap-up and break of conversations; ring time and patience of calls."""
    floor = {
        "n_agents": 10,
        "talk": uniform(5, 15),
        "wrap": uniform(2, 8),
        "breaks": {"p_after_wrap": 1.0, "duration": uniform(5, 9)},
    }
    calls = {"time_to_answer": uniform(2, 8), "patience": uniform(0.5, 2.5)}
    played = World(
        20, world(floor=floor, calls=calls), observation="none", action="ratio", full=full
    )
    every = np.ones(20, np.bool_)
    played.begin(every, list(range(20)))
    spans: dict[tuple[int, int], dict[int, float]] = {}
    agents = played.state.agent
    old = agents[:, :, :2].copy()
    for _ in range(280):
        played.step(np.full((20, 1), 1.0, np.float32), every)
        # states last longer than a step, so that no change is missed
        for b, i in zip(*np.nonzero(agents[:, :, 0] != old[:, :, 0]), strict=True):
            span = float(agents[b, i, 1] - old[b, i, 1])
            number = int(agents[b, i, 2])
            if agents[b, i, 0] != TALK:
                spans.setdefault((b, number), {})[int(old[b, i, 0])] = span
        old = agents[:, :, :2].copy()
    found = {}
    for name, one, two in (("talk and wrap-up", TALK, WRAP), ("wrap-up and break", WRAP, BREAK)):
        both = [(s[one], s[two]) for s in spans.values() if one in s and two in s]
        pairs = np.array(both)
        found[name] = pairs[:, 0], pairs[:, 1]
    if full:
        found["ring time and patience"] = _rings_and_waits()
    return found


def _rings_and_waits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    calls = {"time_to_answer": uniform(2, 8), "patience": uniform(0.5, 2.5)}
    played = World(10, world(calls=calls), observation="none", action="dials", records=True)
    every = np.ones(10, np.bool_)
    played.begin(every, list(range(10)))
    found = []
    for _ in range(60):
        played.step(np.full(10, 2), every)
        for rows in played.drain_log():
            found.append(rows)  # noqa: PERF402
    starts: dict[int, int] = {}
    answers: dict[int, int] = {}
    pairs = []
    for b in range(10):
        for t, code, number, x, _, _ in np.concatenate(found[b::10]).tolist():
            if code == log.DIAL:
                starts[number] = t
            elif code == log.ENDED:
                answers[number] = t
            elif code == log.SILENT and x == log.CAUSE_LEFT:
                pairs.append((answers[number] - starts[number], t - answers[number]))
    table = np.array(pairs, np.float64)
    return table[:, 0], table[:, 1]


CHECKS: Mapping[str, Callable[[], Told]] = {
    "by hand": by_hand,
    "levels": hidden_levels,
    "feed": feed,
    "speed": own_speed,
    "cancelling": cancelling,
    "batches": batches,
    "common random numbers": common_random_numbers,
    "sequences": sequences,
    "independence": independence,
}
"""The battery, in the order in which it is played."""


def first_found() -> tuple[str | None, str]:
    """The first check that fails and why; (None, "") if all hold."""
    for name, check in CHECKS.items():
        try:
            why = next(check(), None)
        except AssertionError as error:  # ContractError
            why = str(error)
        except Exception as error:  # noqa: BLE001 - a crash of a changed kernel is a finding
            why = f"crash: {error!r}"
        if why is not None:
            return name, why[:300]
    return None, ""


def open_books() -> None:
    """Let the kernel run as plain Python: its book is then the pair of state and parameters."""
    modules: tuple[Any, ...] = (plain, features, kernel)
    for module in modules:
        module.state_of, module.params_of = itemgetter(0), itemgetter(1)
    any_world: Any = world_module
    any_world.make_book = lambda state, params: (state, params)


def main() -> int:
    """Play the battery without compilation and write the line of JSON."""
    open_books()
    found, why = first_found()
    sys.stdout.write(json.dumps({"found": found, "why": why}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
