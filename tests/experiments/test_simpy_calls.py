"""The SimPy model alone, by hand: cancelled calls, machines at their deadline, messages on lines.

The world is that of `test_simpy_worlds`: one agent, pick-ups 10 s after set-up, conversations of
30 s, dials without an answer of 20 s, an agent must be there within 3 s; dials by a script.
"""

import math
from typing import Any

import pytest

from quietdial.envs import Scenario
from quietdial.experiments.bench.simpy_twin import Rule, SimpyFloor

NO_ANSWER = [{"outcome": "no_answer", "share": 1, "time": {"kind": "constant", "value_s": 20}}]
MACHINE = [{"outcome": "machine", "share": 1, "time": {"kind": "constant", "value_s": 10}}]


def constant(value_s: float) -> dict[str, Any]:
    return {"kind": "constant", "value_s": value_s}


def world(p: float, endings: list[dict[str, Any]], **parts: Any) -> Scenario:
    """The world of the heading, answered with probability p, with other values in its parts."""
    data: dict[str, Any] = {
        "name": "by-hand",
        "floor": {"n_agents": 1, "talk": constant(30)},
        "calls": {
            "answer_rate": {"kind": "constant", "p": p},
            "time_to_answer": constant(10),
            "unanswered": endings,
            "max_dials_per_decision": 50,
        },
        "rule": {"id": "test", "cap": 0.03, "wait_limit_s": 3},
        "episode": {"duration_s": 300, "close_s": 0, "start": "10:00"},
    }
    for name, values in parts.items():
        data[name] = data[name] | values if name in data else values
    return Scenario.model_validate(data)


def script(plan: dict[int, int] | Rule) -> Rule:
    """Place `plan[t]` dials (cancel, if negative) at the decision t seconds after the opening."""
    return (lambda floor: plan.get(round(floor.env.now), 0)) if isinstance(plan, dict) else plan


def played(scenario: Scenario, plan: dict[int, int] | Rule, *times_s: float) -> list[Any]:
    """Totals at these times."""
    floor = SimpyFloor(scenario, script(plan), seed=1)
    return [floor.run(time_s) for time_s in times_s]


def moment(scenario: Scenario, plan: dict[int, int] | Rule, total: str, least: float = 1) -> float:
    """First quarter of a second at which a total is at least so much."""
    floor = SimpyFloor(scenario, script(plan), seed=1)
    for quarter in range(1, 1200):
        if floor.run(quarter / 4)[total] >= least:
            return quarter / 4
    return math.inf


# --------------------------------------------------------------------------------- cancelling


def may_cancel(p: float = 0.0, min_ring_s: float | None = None, **parts: Any) -> Scenario:
    rule = {"may_cancel": True, "min_ring_s": min_ring_s} | parts.pop("rule", {})
    return world(p, NO_ANSWER, action="dials_or_cancel", rule=rule, **parts)


def test_cancel__only_calls_that_have_rung_long_enough() -> None:
    # ringing from 2, 3 and 4; at 7 only the first has rung for 5 s
    scenario = may_cancel(min_ring_s=5, calls={"setup": constant(2)})
    at_6, at_8, end = played(scenario, {0: 1, 1: 1, 2: 1, 6: -9, 7: -9}, 6.5, 7.5, 300)
    assert (at_6["cancelled"], at_8["cancelled"]) == (0, 1)
    assert (end["dialed"], end["cancelled"], end["no_answer"]) == (3, 1, 2)
    assert moment(scenario, {0: 1, 1: 1, 2: 1, 7: -9}, "no_answer") == 23  # the second one


def test_cancel__the_youngest_first_and_not_during_set_up() -> None:
    # ringing from 2 and 3, the third is set up until 5; the second is cancelled
    scenario = may_cancel(calls={"setup": constant(2)})
    plan = {0: 1, 1: 1, 3: 1, 4: -1}
    assert [moment(scenario, plan, "no_answer", n) for n in (1, 2)] == [22, 25]
    (end,) = played(scenario, plan, 300)
    assert (end["cancelled"], end["no_answer"]) == (1, 2)


def test_cancel__frees_the_line_and_leaves_the_flight_at_once() -> None:
    seen: dict[int, int] = {}

    def rule(floor: SimpyFloor) -> int:
        now = round(floor.env.now)
        seen[now] = floor.n_in_flight
        return {0: 1, 5: -1, 6: 1}.get(now, 0)

    (at_7,) = played(may_cancel(calls={"max_lines": 1}), rule, 7)
    assert (at_7["dialed"], at_7["cancelled"]) == (2, 1)
    assert [seen[t] for t in (1, 5, 6)] == [1, 1, 0]


def test_cancel__lets_the_person_rest_like_no_answer() -> None:
    scenario = may_cancel(people={"n_people": 1, "retry": {"no_answer_s": 30}})
    plan = {t: -1 if t == 5 else 1 for t in range(300)}
    assert moment(scenario, plan, "dialed", 2) == 35.25


def test_cancel__reaches_no_reserved_call_and_nobody_who_answered() -> None:
    # one is talked to from 10, the other silent at 13 and called again from 73, by the world
    rule = {"quarantine_s": 60, "reserved_after_silent": True}
    scenario = may_cancel(p=1.0, people={"n_people": 2}, rule=rule)
    (end,) = played(scenario, {0: 2} | dict.fromkeys(range(10, 90), -5), 300)
    assert (end["cancelled"], end["reserved"], end["connected"]) == (0, 1, 2)


def test_cancel__needs_its_action() -> None:
    (end,) = played(world(0.0, NO_ANSWER, rule={"may_cancel": True}), {0: 2, 5: -2}, 300)
    assert (end["cancelled"], end["no_answer"]) == (0, 2)


# ------------------------------------------------------------- messages, machines, detection


@pytest.mark.parametrize("machine", [False, True])
def test_message__occupies_a_line(machine: bool) -> None:
    # Nobody is there: cut at 13, message until 21. The only line is free then.
    scenario = world(
        0.0 if machine else 1.0,
        MACHINE,
        floor={"shifts": [{"n_agents": 1, "login": "10:04"}]},
        calls={"max_lines": 1, "detection": {"kind": "none", "machine_handling": constant(6)}},
        rule={"at_limit": "message", "message_s": 8},
    )
    plan = dict.fromkeys(range(300), 1)
    assert moment(scenario, plan, "dialed", 2) == 21.25
    (at_20,) = played(scenario, plan, 20)
    assert (at_20["message"], at_20["silent_cut"]) == ((0, 0) if machine else (1, 1))
    assert (at_20["machine_dropped"], at_20["harm"]) == ((1, 0) if machine else (0, 0.5))


def machines(handling_s: float, detection: dict[str, Any] | None = None, **parts: Any) -> Scenario:
    kind = {"machine_handling": constant(handling_s)} | (detection or {"kind": "none"})
    return world(0.0, MACHINE, calls={"detection": kind}, **parts)


def test_machine__is_held_past_its_deadline_and_taken_late() -> None:
    # at 10 the first is handled until 15; the second is dropped at 13 and taken at 15
    hold = {"at_limit": "hold", "hold_s": 4}
    at_14, end = played(machines(5, rule=hold), {0: 2}, 14, 300)
    assert (at_14["machine_dropped"], at_14["machine_agent"]) == (1, 1)
    assert (end["machine_dropped"], end["machine_agent"], end["machine_s"]) == (1, 2, 10)
    assert (end["waiting_s"], end["late"], end["silent"], end["harm"]) == (5, 0, 0, 0)
    (vain,) = played(machines(9, rule=hold), {0: 2}, 300)  # held until 17 only
    assert (vain["machine_dropped"], vain["machine_agent"], vain["waiting_s"]) == (1, 1, 7)


AMD_LATE = {"kind": "amd", "decision": constant(9)}


@pytest.mark.parametrize("detection", [None, AMD_LATE], ids=["in the queue", "before the verdict"])
def test_machine__at_its_deadline_lets_the_person_rest_like_silence(detection: Any) -> None:
    # nobody is there before 60; dropped at 13, due 20 s later: at 33, not at 113
    scenario = machines(
        6,
        detection,
        floor={"shifts": [{"n_agents": 1, "login": "10:04"}]},
        people={"n_people": 1, "retry": {"machine_s": 100, "no_answer_s": 5}},
        rule={"quarantine_s": 20, "at_limit": "message", "message_s": 8 if detection else 2},
    )
    # before the verdict there is no message; in the queue it lasts from 13 to 15
    again_s = 33 if detection else 35
    assert moment(scenario, dict.fromkeys(range(300), 1), "dialed", 2) == again_s + 0.25
    (end,) = played(scenario, dict.fromkeys(range(300), 1), 200)
    assert (end["repeats"], end["message"], end["silent"], end["harm"]) == (0, 0, 0, 0)


def test_machine__at_its_deadline_is_called_by_the_world_where_silent_people_are() -> None:
    # two machines at 10, one handled until 16, the other dropped at 13: reserved from 73
    rule = {"quarantine_s": 60, "reserved_after_silent": True}
    people = {"n_people": 2, "retry": {"machine_s": 1000}}
    scenario = machines(6, people=people, rule=rule)
    assert moment(scenario, {0: 2}, "reserved") == 73.25
    (end,) = played(scenario, {0: 2}, 200)
    assert (end["reserved"], end["machine_agent"], end["people_done"]) == (1, 2, 0)


def test_late_machine__rests_like_any_that_an_agent_had() -> None:
    # two machines at 10; the second, held from 13, is handled from 15 to 20: due 40 s later
    people = {"n_people": 2, "retry": {"machine_s": 40}}
    rule = {"at_limit": "hold", "hold_s": 4, "quarantine_s": 200}
    scenario = machines(5, people=people, rule=rule)
    plan = {0: 2} | dict.fromkeys(range(10, 300), 2)
    assert [moment(scenario, plan, "dialed", n) for n in (3, 4)] == [55.25, 60.25]


def test_in_flight__are_calls_under_detection_too() -> None:
    # answered at 10, the verdict at 12, talked to from then
    seen: list[int] = []

    def rule(floor: SimpyFloor) -> int:
        seen.append(floor.n_in_flight)
        return int(floor.env.now == 0)

    detection = {"kind": "amd", "decision": constant(2), "machine_handling": constant(6)}
    played(world(1.0, MACHINE, calls={"detection": detection}), rule, 20)
    assert seen[:14] == [0] + [1] * 11 + [0, 0]


def test_person__is_settled_at_the_end_of_the_talk() -> None:
    (at_39, at_41) = played(world(1.0, MACHINE, people={"n_people": 1}), {0: 1}, 39, 41)
    assert (at_39["people_done"], at_41["people_done"]) == (0, 1)
