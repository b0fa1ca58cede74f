"""Worlds so small that every figure is worked out by hand, for the kernels and the SimPy model.

All laws are constant: a person answers 10 s after set-up, a conversation lasts 30 s, a dial without
an answer ends after 20 s, an agent must be there within 3 s, and there is one agent. Each case says
what it changes, which dials the decisions place, and what the totals are at which times. One thing
is left to chance: with `people` a dial is answered with probability 0.95 at most. The seeds are
such that all who could answer do.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quietdial.envs.pacing.world import World
from quietdial.experiments.bench.simpy_twin import SimpyFloor
from quietdial.experiments.proof.by_hand_people import people_cases
from quietdial.experiments.proof.by_hand_worlds import (
    EVERY_SECOND,
    STEP_S,
    Case,
    amd,
    constant,
    first,
    no_one,
    world,
)

__all__ = ["CASES", "Case", "kernel_totals", "simpy_totals", "world", "wrong"]

KERNEL_SEED, SIMPY_SEED = 23, 8
_CLOSE = 1e-6


def kernel_totals(case: Case, *, full: bool) -> dict[float, dict[str, float]]:
    """Totals of the kernel at the times of the case; the kernel of a plain world may be chosen."""
    episode = case.scenario.episode.model_copy(update={"decision_interval_s": STEP_S})
    scenario = case.scenario.model_copy(update={"episode": episode})
    kernel = World(1, scenario, observation="none", action="dials", full=full)
    every = np.ones(1, np.bool_)
    kernel.begin(every, [KERNEL_SEED])
    found = {}
    for until_s in sorted(case.expected):
        while kernel.clock_s()[0] < until_s:
            now_s = float(kernel.clock_s()[0])
            dials = case.plan.get(int(now_s), 0) if now_s == int(now_s) else 0
            kernel.step(np.array([dials]), every)
        found[until_s] = {name: float(value[0]) for name, value in kernel.totals().items()}
    return found


def simpy_totals(case: Case) -> dict[float, dict[str, float]]:
    """Totals of the SimPy model at the times of the case."""
    floor = SimpyFloor(case.scenario, lambda f: case.plan.get(round(f.env.now), 0), SIMPY_SEED)
    return {until_s: floor.run(until_s) for until_s in sorted(case.expected)}


def wrong(case: Case, found: Mapping[float, Mapping[str, float]]) -> list[str]:
    """What is other than expected, in words; totals that a plain world lacks are left out."""
    told = []
    for at_s, totals in case.expected.items():
        for name, value in totals.items():
            got = found[at_s].get(name)
            if got is not None and abs(got - value) > _CLOSE:
                told.append(f"{name} is {got:g} at {at_s:g} s, not {value:g}")
    return told


def _calls() -> dict[str, Case]:
    none = {"detection": {"kind": "none", "machine_handling": constant(6)}}
    greeting = {"greeting": {"start": constant(1), "length": constant(2)}}
    hold = {"at_limit": "hold", "hold_s": 4}
    short = {"talk": constant(5)}
    at_12 = no_one("machine", 10)
    cases = {
        "set-up before ringing": Case(
            world(calls={"setup": constant(2)}), {0: 1}, first("connected", 12)
        ),
        "answer and conversation": Case(
            world(),
            {0: 1},
            {
                9.75: {"answered": 0, "idle_s": 9.75},
                10: {"answered": 1, "connected": 1},
                300: {"talk_s": 30, "idle_s": 270, "dialed": 1},
            },
        ),
        # given up 8 s after set-up; the person would have answered at 12
        "timeout": Case(
            world(calls={"setup": constant(2), "ring_timeout_s": 8}), {0: 1}, first("no_answer", 10)
        ),
        "timeout not reached": Case(
            world(calls={"setup": constant(2), "ring_timeout_s": 10}), {0: 1}, first("answered", 12)
        ),
        "timeout is not for busy lines": Case(
            world(calls=no_one("busy", 10) | {"ring_timeout_s": 8}), {0: 1}, first("busy", 10)
        ),
        # three dials at 0, answered at 10: one is connected, two wait until 13
        "lines": Case(
            world(calls={"max_lines": 3}),
            {0: 9, 11: 9, 14: 9},
            {5: {"dialed": 3}, 11.5: {"dialed": 4}, 14.5: {"dialed": 6}},
        ),
        # at 14 one is in conversation until 40; those of 14 are cut at 27
        "trunks": Case(
            world(calls={"trunks": 3}),
            {0: 9, 14: 9, 41: 9},
            {5: {"dialed": 3}, 14.5: {"dialed": 5}, 41.5: {"dialed": 8}},
        ),
        # starts at 0, 0.5 and 1; the fourth could start at 1.5 only
        "calls per second": Case(
            world(calls={"calls_per_s": 2}),
            {0: 10},
            {
                9.75: {"dialed": 3},
                10: {"answered": 1},
                10.25: {"answered": 1},
                10.5: {"answered": 2},
                11: {"answered": 3},
            },
        ),
        "origin answer": Case(world(), {0: 2}, first("silent_cut", 13)),
        "origin greeting start": Case(
            world(calls=greeting, rule={"clock": "greeting_start"}), {0: 2}, first("silent_cut", 14)
        ),
        "origin greeting end": Case(
            world(calls=greeting, rule={"clock": "greeting_end"}), {0: 2}, first("silent_cut", 16)
        ),
        "cut at the limit": Case(
            world(),
            {0: 2},
            {300: {"connected": 1, "silent_cut": 1, "counted": 1, "harm": 1, "waiting_s": 3}},
        ),
        # the agent talks from 10 to 12, then the second is connected
        "waiting in time": Case(
            world(floor={"talk": constant(2)}),
            {0: 2},
            {12: {"connected": 2, "silent": 0, "waiting_s": 2}, 300: {"talk_s": 4}},
        ),
        # answered at 10, 11 and 12; the agent is free at 13 and 16: the first who waits goes first
        "first come first served": Case(
            world(floor={"talk": constant(3)}),
            {0: 1, 1: 1, 2: 1},
            {300: {"connected": 2, "silent_cut": 1, "waiting_s": 2 + 3}},
        ),
        "no waiting": Case(world(rule={"wait_limit_s": 0}), {0: 2}, first("silent_cut", 10)),
        "patience": Case(
            world(calls={"patience": constant(2)}, rule={"counts_left": False}),
            {0: 2},
            {11.75: {"silent_left": 0}, 12: {"silent_left": 1, "counted": 0, "silent_cut": 0}},
        ),
        "patience and limit at once": Case(
            world(calls={"patience": constant(3)}),
            {0: 2},
            {300: {"silent_cut": 1, "silent_left": 0}},
        ),
        # cut at 13, message until 21: with 2 trunks (one in conversation) no dial before 21
        "message": Case(
            world(
                floor={"talk": constant(200)},
                calls={"trunks": 2},
                rule={"at_limit": "message", "message_s": 8},
            ),
            {**EVERY_SECOND, 0: 2},
            {
                20.5: {"dialed": 2, "message": 1, "harm": 0.5, "silent_cut": 1},
                21.5: {"dialed": 3},
            },
        ),
        # the agent talks from 10 to 15; the second callee is silent at 13 and late at 15
        "hold": Case(
            world(floor=short, rule=hold),
            {0: 2},
            {
                14: {"silent_cut": 1, "late": 0, "harm": 0},
                300: {
                    "connected": 1,
                    "late": 1,
                    "silent": 1,
                    "talk_s": 10,
                    "harm": 0.3,
                    "waiting_s": 5,
                },
            },
        ),
        "hold in vain": Case(
            world(floor=short, rule=hold | {"hold_s": 1, "waiting_hears": "comfort_noise"}),
            {0: 2},
            {300: {"late": 0, "silent_cut": 1, "waiting_s": 4, "harm": 0.8}},
        ),
        "hold until patience ends": Case(
            world(floor=short, calls={"patience": constant(4)}, rule=hold),
            {0: 2},
            {300: {"late": 0, "silent_cut": 1, "waiting_s": 4, "harm": 1}},
        ),
        "perfect detection": Case(
            world(calls=at_12), {0: 2}, {300: {"machine": 2, "machine_agent": 0, "idle_s": 300}}
        ),
        # machines at 10: the first is handled until 16, the second waits until 13
        "no detection": Case(
            world(floor={"wrap": constant(5)}, calls=at_12 | none),
            {0: 2},
            {
                300: {
                    "machine": 2,
                    "machine_agent": 1,
                    "machine_dropped": 1,
                    "machine_s": 6,
                    "wrap_s": 0,
                    "silent": 0,
                    "waiting_s": 3,
                }
            },
        ),
        "detection takes its time": Case(world(calls=amd(1)), {0: 1}, first("connected", 11)),
        "person taken for a machine": Case(
            world(calls=amd(1, p_false_machine=1.0), rule={"counts_amd": False}),
            {0: 1},
            {
                10.75: {"silent_amd": 0},
                11: {"silent_amd": 1, "amd_machine": 1, "counted": 0, "harm": 1, "connected": 0},
            },
        ),
        "limit with the verdict": Case(world(calls=amd(3)), {0: 1}, first("silent_cut", 13)),
        "leaving with the verdict": Case(
            world(calls=amd(2) | {"patience": constant(2)}), {0: 1}, first("silent_left", 12)
        ),
        "limit after the verdict": Case(world(calls=amd(2)), {0: 2}, first("silent_cut", 13)),
        "machine known": Case(
            world(calls=at_12 | amd(2)),
            {0: 1},
            {300: {"machine": 1, "amd_machine": 1, "machine_agent": 0}},
        ),
        "machine taken for a person": Case(
            world(calls=at_12 | amd(2, p_false_person=1.0)),
            {0: 2},
            {
                300: {
                    "machine": 2,
                    "amd_machine": 0,
                    "machine_agent": 1,
                    "machine_dropped": 1,
                    "machine_s": 6,
                }
            },
        ),
    }
    cases |= {
        f"ending {name}": Case(
            world(calls=no_one(name, 7)),
            {0: 2, 3: 1},
            {6.75: {name: 0}, 7: {name: 2}, 10: {name: 3}},
        )
        for name in ("machine", "busy", "no_answer", "invalid", "failure")
    }
    return cases


def _agents() -> dict[str, Case]:
    lunch = {"at": "10:02", "duration": 60}
    return {
        # talk 10 to 40, wrap to 45, break to 65
        "wrap and break": Case(
            world(
                floor={
                    "wrap": constant(5),
                    "breaks": {"p_after_wrap": 1.0, "duration": constant(20)},
                }
            ),
            {0: 1},
            {
                44.75: {"wrap_s": 4.75, "break_s": 0},
                100: {
                    "talk_s": 30,
                    "wrap_s": 5,
                    "break_s": 20,
                    "idle_s": 45,
                    "available_s": 80,
                },
            },
        ),
        # in from 60; a call answered at 115 lasts until 145, log-out is due at 120
        "shift": Case(
            world(floor={"shifts": [{"n_agents": 1, "login": "10:01", "logout": "10:02"}]}),
            {105: 1},
            {300: {"connected": 1, "talk_s": 30, "idle_s": 55, "off_s": 215}},
        ),
        "shift ends while idle": Case(
            world(floor={"shifts": [{"n_agents": 1, "logout": "10:02"}]}),
            {115: 1},
            {300: {"silent_cut": 1, "off_s": 180, "available_s": 120}},
        ),
        # agent 0 talks from 110 to 140 and has lunch until 200; agent 1 from 120 to 180
        "lunch": Case(
            world(floor={"n_agents": 2, "shifts": [{"n_agents": 2, "lunch": lunch}]}),
            {100: 1},
            {
                130: {"break_s": 10},
                150: {"break_s": 40},
                190: {"break_s": 110},
                300: {"break_s": 120, "idle_s": 450},
            },
        ),
        # agent 0 talks from 110 to 140, has lunch until 200, talks from 220 to 250: no lunch again
        "one lunch": Case(
            world(floor={"shifts": [{"n_agents": 1, "lunch": lunch}]}),
            {100: 1, 210: 1},
            {300: {"break_s": 60, "talk_s": 60, "idle_s": 180}},
        ),
        "lunch over the log-out": Case(
            world(
                floor={
                    "shifts": [
                        {
                            "n_agents": 1,
                            "logout": "10:03",
                            "lunch": lunch | {"duration": 90},
                        }
                    ]
                }
            ),
            {},
            {300: {"idle_s": 120, "break_s": 90, "off_s": 90}},
        ),
        "success": Case(
            world(floor={"p_success": 1.0}), {0: 1, 50: 1}, {300: {"successes": 2, "connected": 2}}
        ),
        # two agents: the second conversation goes to agent 1; both are free again at 43
        "longest idle": Case(
            world(floor={"n_agents": 2}),
            {0: 1, 3: 1},
            {12: {"talk_s": 2}, 20: {"talk_s": 17}, 300: {"connected": 2, "talk_s": 60}},
        ),
    }


CASES: Mapping[str, Case] = _calls() | _agents() | people_cases()
"""All cases by name."""
