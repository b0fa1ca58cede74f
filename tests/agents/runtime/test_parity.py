"""The runtime's features, base values and shields equal the kernel's, bit for bit."""

import numpy as np
import pytest

from quietdial.agents.runtime.counters import Ages, Counters
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.runtime.tables import BREAK, HELD, IDLE, TALK, WRAP
from quietdial.agents.runtime.windows import Session
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.scenario import changed, load_scenario

from .conftest import Said, played, settings_for


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("preset", "observation", "action"),
    [
        ("study-real-10", "full", "residual"),
        ("italy-50", "full", "residual"),
        ("study-shift-5", "wide", "residual"),
        ("study-stat-25", "counters", "dials"),
        ("markov-10", "markov", "dials"),
        ("uk-50", "wide", "residual"),
        ("us-50", "full", "residual"),
        ("machines-50", "wide", "dials"),
        ("late-feed-50", "wide", "residual"),
        ("blend-40", "wide", "residual"),
    ],
)
def test_parity__features_and_base(preset, observation, action):
    different, pacer = set(), None
    for moment in played(preset, observation=observation, action=action):
        pacer = moment.pacer
        assert same_bits(pacer.last_obs, moment.seen), (moment.number, preset)
        assert pacer.last_base == moment.base
        different.add(pacer.last_obs.tobytes())
    assert len(different) > (50 if observation == "markov" else 500), (
        "the floor must not stand still"
    )
    assert pacer is not None
    assert pacer.calls.lost == 0
    assert pacer.out_of_order == 0


def test_parity__over_a_night(short_days):
    days = 0
    opened: list[Session | None] = []
    for moment in played(short_days, steps=10_000, seed=3):
        assert same_bits(moment.pacer.last_obs, moment.seen) or moment.decision.mode == "stop"
        if moment.pacer.session not in opened:
            opened.append(moment.pacer.session)
            days += 1
    assert days == 2
    assert opened[0] is not None
    assert opened[1] is not None
    assert opened[0].windows == opened[1].windows  # one campaign window goes on


def test_parity__rolling_and_daily_windows():
    rule = {
        "profile": "it_2014",
        "cap": 0.3,
        "windows": [
            {"kind": "day", "cap": 0.3},
            {"kind": "hours", "length": 1, "cap": 0.25},
            {"kind": "campaign", "cap": 0.28},
        ],
    }
    scenario = changed(load_scenario("study-real-10"), rule=rule)
    tightest = set()
    for moment in played(scenario, steps=5000, wild=0.0):
        assert same_bits(moment.pacer.last_obs, moment.seen), moment.number
        tightest.add(float(moment.seen[20]) == float(moment.seen[13]))
    assert tightest == {True, False}, "another window than the first must be the tightest at times"


@pytest.mark.parametrize("at_limit", ["hold", "message"])
@pytest.mark.parametrize("detection", ["none", "perfect"])
def test_parity__callees_held_on_or_told_a_message(at_limit, detection):
    kind = {"kind": detection}
    if detection == "none":
        kind["machine_handling"] = {"kind": "exponential", "mean_s": 8.0}
    rule = {"at_limit": at_limit, "hold_s": 9.0}
    scenario = changed(load_scenario("study-real-10"), calls={"detection": kind}, rule=rule)
    moments = []
    for moment in played(scenario, observation="wide", steps=1500, wild=0.3):
        assert same_bits(moment.pacer.last_obs, moment.seen), moment.number
        moments.append(moment)
    totals = moments[-1].pacer.windows.total
    assert totals.cut > 20
    assert (totals.machine_agent > 20) == (detection == "none")


@pytest.mark.parametrize(
    ("preset", "shield"),
    [
        ("study-real-10", Shield("deterministic")),
        ("italy-50", Shield("borrowing", answers_per_agent_s=0.002)),
        ("study-stat-5", Shield("deterministic", cap=0.2)),
    ],
)
def test_parity__shield(preset, shield):
    refused = 0
    for moment in played(preset, action="dials", shield=shield, wild=0.7, steps=2500):
        assert moment.pacer.last_room == moment.room, moment.number
        assert moment.decision.dials == moment.placed
        refused += "shield" in moment.decision.guards
    assert refused > 500


def test_parity__reserving_shield_of_agents_who_leave():
    shifts = [
        {"n_agents": 5, "logout": "10:30", "lunch": {"at": "10:15", "duration": 300}},
        {"n_agents": 5, "login": "10:05", "lunch": {"at": "10:35", "duration": 300}},
    ]
    scenario = changed(load_scenario("study-real-10"), floor={"shifts": shifts})
    reserved, unmet = 0, ["nothing was played"]
    shield = Shield("deterministic", reserves=True)
    for moment in played(scenario, action="dials", shield=shield, wild=0.5, steps=2700):
        assert moment.pacer.last_room == moment.room, moment.number
        assert moment.decision.dials == moment.placed
        crew, now_ms = moment.pacer.crew, moment.decision.at_ms
        reserved += crew.idle_leaving(now_ms, now_ms + moment.pacer.tables.settled_ms) > 0
        unmet = moment.pacer.unmet_conditions()
    assert reserved > 20
    assert not any("log out" in line or "nothing" in line for line in unmet)


@pytest.mark.parametrize("preset", ["study-real-10", "italy-50-full"])
def test_parity__counters_of_a_dialer_are_enough_for_the_counters_set(preset):
    by_counters = None
    for moment in played(preset, observation="counters", action="dials", steps=1500):
        events, now_ms = moment.pacer, moment.decision.at_ms
        if by_counters is None:
            by_counters = Pacer(events.tables, Said("counters"), MemoryLedger(), settings_for())
            assert events.session is not None
            by_counters.open_session(events.session)
        view = events.view(now_ms)
        states = view.agents
        seen = Counters(
            at_ms=now_ms,
            idle=states[IDLE],
            talk=states[TALK],
            wrap=states[WRAP],
            on_break=states[BREAK],
            held=states[HELD],
            waiting=view.waiting,
            in_flight=view.in_flight,
            picked_up=events.calls.picked_up_seen,
            finished=events.calls.finished,
            windows=tuple(view.windows),
            lines_free=view.lines_free,
            leaving=view.leaving,
            list_left=view.list_left,
        )
        by_counters.decide_from(seen)
        assert same_bits(by_counters.last_obs, moment.seen), moment.number


def test_parity__counters_with_ages_are_enough_for_the_full_set_and_the_base_rule():
    by_counters, base, dials = None, [], []
    for moment in played("study-real-10", observation="full", steps=2500, wild=0.2):
        events, now_ms = moment.pacer, moment.decision.at_ms
        if by_counters is None:
            said = Said("full", 0.02)
            by_counters = Pacer(events.tables, said, MemoryLedger(), settings_for())
            assert events.session is not None
            by_counters.open_session(events.session)
        view, crew = events.view(now_ms), events.crew
        assert view.cohorts is not None
        ages: dict[int, list[float]] = {state: [] for state in (TALK, WRAP, BREAK)}
        for state, since_ms in zip(crew._state, crew._since.tolist(), strict=True):
            if state in ages:
                ages[state].append((now_ms - since_ms) / 1000)
        flying = np.repeat(np.arange(len(view.cohorts)), view.cohorts.astype(int))
        seen = Counters(
            at_ms=now_ms,
            idle=view.agents[IDLE],
            talk=view.agents[TALK],
            wrap=view.agents[WRAP],
            on_break=view.agents[BREAK],
            waiting=view.waiting,
            in_flight=view.in_flight,
            picked_up=events.calls.picked_up_seen,
            finished=events.calls.finished,
            windows=tuple(view.windows),
            lines_free=view.lines_free,
            ages=Ages(tuple(map(float, flying)), *(tuple(ages[s]) for s in (TALK, WRAP, BREAK))),
        )
        by_counters.decide_from(seen)
        np.testing.assert_allclose(by_counters.last_obs, moment.seen, atol=2e-6)
        base.append(by_counters.last_base == moment.base)
        dials.append(moment.base)
    assert np.mean(base) > 0.999  # agents are added up in another order: the last bit may differ
    assert np.max(dials) > 1
