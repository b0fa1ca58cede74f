"""What a policy sees is only what a dialer can know.

Pairs of worlds differ in hidden truth alone; the belief is the same. With the same actions their
observations are the same bits until something happens differently that a dialer notices, and they
come apart afterwards.
"""

import numpy as np
import pytest

from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.pacing import log
from quietdial.envs.pacing.state import (
    MACHINE,
    P_ANSWER,
    PERSON,
    SILENT_AMD,
    SILENT_CUT,
    TALK_FACTOR,
)
from quietdial.envs.pacing.world import World

STEPS = 900


def uniform(low_s, high_s):
    return {"kind": "uniform", "low_s": low_s, "high_s": high_s}


def drifting(**more):
    return {"kind": "drifting", "p_low": 0.3, "p_high": 0.3, "update_s": 20} | more


AMD = {
    "kind": "amd",
    "decision": uniform(0.5, 1.5),
    "p_false_machine": 0.0,
    "p_false_person": 0.0,
    "machine_handling": uniform(4, 12),
}
PEOPLE = {
    "n_people": 300,
    "retry": {"no_answer_s": 60, "busy_s": 30, "machine_s": 90},
    "segments": [{"share": 0.5, "reach": 1.0}, {"share": 0.5, "reach": 1.0}],
}


def world(full, delay_s=0.0, **parts):
    """A small world, of the full kernel or of the plain one; the dialer's belief is fixed."""
    data = {
        "name": "hidden",
        "floor": {"n_agents": 6, "talk": uniform(20, 90), "wrap": uniform(5, 15)},
        "calls": {
            "answer_rate": {"kind": "constant", "p": 0.3},
            "time_to_answer": uniform(4, 20),
            "unanswered": [
                {"outcome": "machine", "share": 0.5, "time": uniform(5, 24)},
                {"outcome": "no_answer", "share": 0.5, "time": uniform(20, 30)},
            ],
        },
        "rule": {"id": "test", "cap": 0.03, "wait_limit_s": 3},
        "episode": {"duration_s": 3600, "close_s": 60},
        "belief": {
            "talk": uniform(20, 90),
            "wrap": uniform(5, 15),
            "time_to_answer": uniform(4, 20),
        },
    }
    if full:
        data["calls"]["detection"] = AMD
        data["people"] = PEOPLE
        data["belief"]["feed_delay_s"] = delay_s
        data["rule"] |= {"quarantine_s": 300, "reserved_after_silent": True}
    for name, values in parts.items():
        data[name] = data[name] | values
    return Scenario.model_validate(data)


def noticed(world_, rows):
    """The rows of the log as far as a dialer notices them."""
    hears_all = world_.scenario.calls.detection.kind == "perfect"
    seen = []
    for t, code, number, x, y, z in rows.tolist():
        if code == log.ENDED and not hears_all and x in (PERSON, MACHINE):
            x = "picked up"
        if code == log.SILENT and x == log.CAUSE_AMD:
            continue  # the verdict was noticed, not that it was wrong
        if code in (log.SILENT, log.DROPPED):
            code, x, y, z = "dropped", 0, 0, 0
        seen.append((t, code, number, x, y, z))
    return seen


def compare(first, second, observation, seed=1):
    """(steps with equal events, first step with other observations); equal events, equal bits."""
    every = np.ones(1, np.bool_)
    kinds = {"observation": observation, "action": "dials"}
    watched = [World(1, scenario, **kinds) for scenario in (first, second)]
    shadows = [World(1, scenario, records=True, **kinds) for scenario in (first, second)]
    for w in (*watched, *shadows):
        w.begin(every, [seed])
    rng = np.random.default_rng(0)
    same, apart = 0, None
    together = True
    for step in range(STEPS):
        logs = [noticed(w, w.drain_log()[0]) for w in shadows]
        together = together and logs[0] == logs[1]
        a, b = (w.observe() for w in watched)
        if together:
            assert a.tobytes() == b.tobytes(), f"step {step}: {np.flatnonzero(a != b)}"
            same = step
        elif a.tobytes() != b.tobytes():
            apart = step
            break
        dials = rng.choice([0, 0, 1, 2], 1)
        for w in (*watched, *shadows):
            w.step(dials, every)
    return same, apart


BOTH = {
    "answer rate": ({}, {"calls": {"answer_rate": {"kind": "constant", "p": 0.5}}}),
    "level of the day": (
        {"calls": {"answer_rate": drifting()}},
        {"calls": {"answer_rate": drifting(p_low=0.2, p_high=0.6)}},
    ),
    "drift": (
        {"calls": {"answer_rate": drifting()}},
        {"calls": {"answer_rate": drifting(ou_sd=0.6, ou_tau_s=100)}},
    ),
    "talk factor": ({}, {"floor": {"talk_day_sd": 0.5}}),
    "talk law": ({}, {"floor": {"talk": uniform(30, 40)}}),
    "patience": ({}, {"calls": {"patience": uniform(0.2, 1.5)}}),
    "time to answer": ({}, {"calls": {"time_to_answer": uniform(10, 12)}}),
}
FULL_ONLY = {
    "jumps": (
        {"calls": {"answer_rate": drifting()}},
        {"calls": {"answer_rate": drifting(jumps_per_h=60, jump_sd=1.5)}},
    ),
    "false machines": ({}, {"calls": {"detection": AMD | {"p_false_machine": 0.5}}}),
    "false persons": ({}, {"calls": {"detection": AMD | {"p_false_person": 0.5}}}),
    "reach": (
        {},
        {"people": {"segments": [{"share": 0.5, "reach": 1.6}, {"share": 0.5, "reach": 0.4}]}},
    ),
    "speed": ({}, {"floor": {"speed_sd": 0.5}}),
    "success": ({"floor": {"p_success": 0.2}}, {"floor": {"p_success": 0.6}}),
    "talk drift": ({}, {"floor": {"talk_drift": {"ou_sd": 0.5, "ou_tau_s": 100}}}),
}


@pytest.mark.parametrize("observation", ["full", "counters"])
@pytest.mark.parametrize("name", BOTH)
def test_plain_world__shows_hidden_truth_only_by_what_happens(name, observation):
    one, two = (world(False, **parts) for parts in BOTH[name])
    same, apart = compare(one, two, observation)
    assert same >= 3
    assert apart is not None
    assert apart > same


@pytest.mark.parametrize("delay_s", [0.0, 4.0])
@pytest.mark.parametrize("observation", ["full", "counters"])
@pytest.mark.parametrize("name", [*BOTH, *FULL_ONLY])
def test_full_world__shows_hidden_truth_only_by_what_happens(name, observation, delay_s):
    one, two = (world(True, delay_s, **parts) for parts in (BOTH | FULL_ONLY)[name])
    same, apart = compare(one, two, observation)
    assert same >= 3
    if name != "success":  # nothing but the log tells of an aim that was reached
        assert apart is not None
        assert apart > same


@pytest.mark.parametrize("full", [False, True])
def test_privileged__differs_at_once(full):
    for name in ("answer rate", "level of the day", "talk factor"):
        seen, told = [], []
        for parts in BOTH[name]:
            env = PacingVectorEnv(1, world(full, **parts), privileged=True)
            observation, info = env.reset(seed=1)
            seen.append(observation.tobytes())
            told.append(info["privileged"].tobytes())
        assert seen[0] == seen[1]
        assert told[0] != told[1], name


@pytest.mark.parametrize("observation", ["full", "counters", "markov"])
@pytest.mark.parametrize("estimate", ["counted", "ofcom"])
def test_observation__does_not_depend_on_people_taken_for_machines(observation, estimate):
    detection = AMD | {"p_false_machine": 0.5}
    scenario = world(True, calls={"detection": detection}, rule={"estimate": estimate})
    played = World(1, scenario, observation=observation, action="dials")
    every = np.ones(1, np.bool_)
    played.begin(every, [4])
    for _ in range(300):
        played.step(np.array([2]), every)
    assert played.state.head[0, SILENT_AMD] > 0
    before = played.observe().tobytes()
    played.state.head[0, SILENT_AMD] += 7
    assert played.observe().tobytes() == before
    if observation != "markov":  # what the dialer dropped itself, it sees
        assert played.state.head[0, SILENT_CUT] > 0
        played.state.head[0, SILENT_CUT] = 0
        assert played.observe().tobytes() != before


@pytest.mark.parametrize("full", [False, True])
def test_observation__does_not_read_the_hidden_levels(full):
    played = World(1, world(full), observation="full", action="residual")
    every = np.ones(1, np.bool_)
    played.begin(every, [4])
    for _ in range(100):
        played.observe()
        played.step(np.array([2]), every)
    before = played.observe().tobytes()
    played.state.head[0, P_ANSWER] //= 2
    played.state.head[0, TALK_FACTOR] *= 2
    assert played.observe().tobytes() == before
