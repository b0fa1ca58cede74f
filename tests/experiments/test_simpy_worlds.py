"""The SimPy model alone, in worlds so small that every figure is worked out by hand.

All laws are constant: a person answers 10 s after set-up, a conversation lasts 30 s, a dial without
an answer ends after 20 s, an agent must be there within 3 s. Dials are placed by a script. Where
chance is needed, the test says its false-alarm rate.
"""

import math
from typing import Any

import numpy as np
import pytest

from quietdial.envs import Scenario
from quietdial.experiments.bench.simpy_twin import Rule, SimpyFloor
from quietdial.experiments.proof.by_hand_worlds import constant, world

Z = 4.0  # two-sided false-alarm rate 6e-5 of the test of speeds

PLAIN_TOTALS = """dialed answered connected silent silent_cut silent_left silent_amd machine busy
no_answer invalid idle_s talk_s wrap_s break_s available_s waiting_s"""
FURTHER_TOTALS = """counted late message failure cancelled machine_agent machine_dropped amd_machine
reserved callbacks repeats harm people_done successes inbound_arrived inbound_served inbound_lost
inbound_waited inbound_in_time inbound_wait_s off_s held_s machine_s inbound_s"""


MACHINE = [{"outcome": "machine", "share": 1, "time": constant(10)}]


def never_answered(endings: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    calls: dict[str, Any] = {"answer_rate": {"kind": "constant", "p": 0.0}}
    return calls if endings is None else calls | {"unanswered": endings}


def script(plan: dict[int, int]) -> Rule:
    """Place `plan[t]` dials at the decision t seconds after the first opening."""
    return lambda floor: plan.get(round(floor.env.now), 0)


def always_one(_: SimpyFloor) -> int:
    return 1


def played(scenario: Scenario, plan: dict[int, int] | Rule, *times_s: float) -> list[Any]:
    """Totals at these times."""
    floor = SimpyFloor(scenario, script(plan) if isinstance(plan, dict) else plan, seed=1)
    return [floor.run(time_s) for time_s in times_s]


def moment(scenario: Scenario, plan: dict[int, int] | Rule, total: str, least: float = 1) -> float:
    """First quarter of a second at which a total is at least so much."""
    floor = SimpyFloor(scenario, script(plan) if isinstance(plan, dict) else plan, seed=1)
    last_s = floor.sessions[-1].close_ms / 1000
    for quarter in range(1, int(4 * last_s) + 1):
        if floor.run(quarter / 4)[total] >= least:
            return quarter / 4
    return math.inf


def test_totals__have_the_names_of_the_contract() -> None:
    (totals,) = played(world(), {}, 10)
    assert sorted(totals) == sorted((PLAIN_TOTALS + " " + FURTHER_TOTALS).split())


# ------------------------------------------------------------------------------------ a dial


def test_dial__set_up_comes_before_ringing() -> None:
    assert moment(world(calls={"setup": constant(2)}), {0: 1}, "connected") == 12


def test_ring_timeout__makes_a_later_answer_no_answer() -> None:
    # given up 8 s after set-up, that is at 10; the person would have answered at 12
    early = world(calls={"setup": constant(2), "ring_timeout_s": 8})
    assert moment(early, {0: 1}, "no_answer") == 10
    late = world(calls={"setup": constant(2), "ring_timeout_s": 10})  # not longer than the timeout
    assert moment(late, {0: 1}, "answered") == 12
    # a busy tone after 10 s is not ringing
    busy = never_answered([{"outcome": "busy", "share": 1, "time": constant(10)}])
    assert moment(world(calls=busy | {"ring_timeout_s": 8}), {0: 1}, "busy") == 10


def test_lines__limit_the_calls_in_flight_and_waiting() -> None:
    # 3 lines: three dials at 0, answered at 10: one is connected, two wait until 13
    scenario = world(calls={"max_lines": 3})
    at_5, at_11, at_14 = played(scenario, {0: 9, 11: 9, 14: 9}, 5, 11.5, 14.5)
    assert at_5["dialed"] == 3
    assert at_11["dialed"] == 4  # two wait: one line is free
    assert at_14["dialed"] == 6  # nobody waits, one is in flight


def test_trunks__count_conversations_too() -> None:
    # 3 trunks: at 14 one is in conversation until 40
    at_14, at_41 = played(world(calls={"trunks": 3}), {0: 9, 14: 9, 41: 9}, 14.5, 41.5)
    assert at_14["dialed"] == 5
    # those of 14 are answered at 24 and cut at 27, so at 41 all trunks are free
    assert at_41["dialed"] == 8


def test_calls_per_s__space_the_starts_and_drop_what_is_later_than_a_second() -> None:
    # starts at 0, 0.5 and 1; the fourth could start at 1.5 only
    scenario = world(calls={"calls_per_s": 2})
    assert played(scenario, {0: 10}, 20)[0]["dialed"] == 3
    assert moment(scenario, {0: 10}, "answered", 2) == 10.5
    assert moment(scenario, {0: 10}, "answered", 3) == 11


# --------------------------------------------------------------------------------- a pick-up


@pytest.mark.parametrize(
    ("clock", "at"), [("answer", 13), ("greeting_start", 14), ("greeting_end", 16)]
)
def test_clock__moves_the_deadline(clock: str, at: float) -> None:
    # answered at 10, the first word at 11, the end of the greeting at 13, and the limit of 3 s
    greeting = {"start": constant(1), "length": constant(2)}
    scenario = world(calls={"greeting": greeting}, rule={"clock": clock})
    assert moment(scenario, {0: 2}, "silent_cut") == at


def test_silence__first_come_first_served_and_cut_at_the_limit() -> None:
    (end,) = played(world(), {0: 2}, 300)
    assert (end["connected"], end["silent_cut"], end["counted"], end["harm"]) == (1, 1, 1, 1)
    assert (end["waiting_s"], end["talk_s"], end["idle_s"]) == (3, 30, 270)


def test_no_waiting__with_a_limit_of_0() -> None:
    assert moment(world(rule={"wait_limit_s": 0}), {0: 2}, "silent_cut") == 10


def test_patience__ends_the_wait_and_a_tie_is_a_cut() -> None:
    scenario = world(calls={"patience": constant(2)}, rule={"counts_left": False})
    assert moment(scenario, {0: 2}, "silent_left") == 12
    (end,) = played(scenario, {0: 2}, 300)
    assert (end["silent"], end["counted"], end["silent_cut"]) == (1, 0, 0)
    (tie,) = played(world(calls={"patience": constant(3)}), {0: 2}, 300)
    assert (tie["silent_cut"], tie["silent_left"]) == (1, 0)


def test_message__keeps_the_line_busy() -> None:
    # cut at 13, message until 21: with 2 trunks (one in conversation) no dial before 21
    scenario = world(
        floor={"talk": constant(200)},
        calls={"trunks": 2},
        rule={"at_limit": "message", "message_s": 8},
    )
    plan = {0: 2} | dict.fromkeys(range(1, 300), 1)
    at_20, at_21 = played(scenario, plan, 20.5, 21.5)
    assert (at_20["dialed"], at_21["dialed"]) == (2, 3)
    assert (at_20["message"], at_20["harm"], at_20["silent_cut"]) == (1, 0.5, 1)


def test_hold__brings_a_late_agent_and_the_call_stays_silent() -> None:
    # the agent talks from 10 to 15; the second callee is silent at 13 and late at 15
    scenario = world(floor={"talk": constant(5)}, rule={"at_limit": "hold", "hold_s": 4})
    at_14, end = played(scenario, {0: 2}, 14, 300)
    assert (at_14["silent_cut"], at_14["late"], at_14["harm"]) == (1, 0, 0)
    assert (end["connected"], end["late"], end["silent"], end["talk_s"]) == (1, 1, 1, 10)
    assert end["harm"] == 0.3
    assert end["waiting_s"] == 5


@pytest.mark.parametrize(
    ("hold_s", "patience_s"), [(1, None), (9, 4)], ids=["hold ends", "patience ends"]
)
def test_hold__ends_without_an_agent(hold_s: float, patience_s: float | None) -> None:
    # held from 13 to 14, in vain: the agent is free at 15 only
    scenario = world(
        floor={"talk": constant(5)},
        calls={"patience": None if patience_s is None else constant(patience_s)},
        rule={"at_limit": "hold", "hold_s": hold_s, "waiting_hears": "comfort_noise"},
    )
    (end,) = played(scenario, {0: 2}, 300)
    assert (end["late"], end["silent_cut"], end["waiting_s"], end["harm"]) == (0, 1, 4, 0.8)


def test_perfect_detection__ends_a_machine_at_the_pick_up() -> None:
    (end,) = played(world(calls=never_answered(MACHINE)), {0: 2}, 300)
    assert (end["machine"], end["machine_agent"], end["idle_s"]) == (2, 0, 300)


def test_no_detection__brings_machines_to_agents_or_drops_them_at_the_deadline() -> None:
    # machines at 10: the first is handled until 16, the second waits until 13
    detection = {"kind": "none", "machine_handling": constant(6)}
    scenario = world(
        floor={"wrap": constant(5)}, calls=never_answered(MACHINE) | {"detection": detection}
    )
    (end,) = played(scenario, {0: 2}, 300)
    assert (end["machine"], end["machine_agent"], end["machine_dropped"]) == (2, 1, 1)
    assert (end["machine_s"], end["wrap_s"], end["silent"], end["waiting_s"]) == (6, 0, 0, 3)


def amd(decision_s: float, **more: Any) -> dict[str, Any]:
    handling = {"machine_handling": constant(6)}
    return {"detection": {"kind": "amd", "decision": constant(decision_s)} | handling | more}


def test_amd__person_reaches_the_agent_after_the_verdict_or_is_cut_off() -> None:
    assert moment(world(calls=amd(1)), {0: 1}, "connected") == 11
    wrong = world(calls=amd(1, p_false_machine=1.0), rule={"counts_amd": False})
    assert moment(wrong, {0: 1}, "silent_amd") == 11
    (end,) = played(wrong, {0: 1}, 300)
    assert (end["amd_machine"], end["connected"], end["counted"], end["harm"]) == (1, 0, 0, 1)


def test_amd__deadline_or_leaving_with_the_verdict_comes_first() -> None:
    assert moment(world(calls=amd(3)), {0: 1}, "silent_cut") == 13
    assert moment(world(calls=amd(2) | {"patience": constant(2)}), {0: 1}, "silent_left") == 12
    # the wait for an agent after a verdict at 12 ends at the same deadline, 13
    assert moment(world(calls=amd(2)), {0: 2}, "silent_cut") == 13


def test_amd__machine_is_known_or_reaches_an_agent() -> None:
    (known,) = played(world(calls=never_answered(MACHINE) | amd(2)), {0: 1}, 300)
    assert (known["machine"], known["amd_machine"], known["machine_agent"]) == (1, 1, 0)
    calls = never_answered(MACHINE) | amd(2, p_false_person=1.0)
    (taken,) = played(world(calls=calls), {0: 2}, 300)
    assert (taken["machine"], taken["amd_machine"]) == (2, 0)
    assert (taken["machine_agent"], taken["machine_dropped"], taken["machine_s"]) == (1, 1, 6)


# ------------------------------------------------------------------------------------- agents


def test_wrap_and_break__follow_the_conversation() -> None:
    # talk 10 to 40, wrap to 45, break to 65
    breaks = {"p_after_wrap": 1.0, "duration": constant(20)}
    scenario = world(floor={"wrap": constant(5), "breaks": breaks})
    (end,) = played(scenario, {0: 1}, 100)
    spent = [end[name] for name in ("talk_s", "wrap_s", "break_s", "idle_s", "available_s")]
    assert spent == [30, 5, 20, 45, 80]


def test_speed__is_the_agents_own_and_has_mean_1() -> None:
    scenario = world(floor={"n_agents": 2000, "wrap": constant(15), "speed_sd": 0.5})
    (end,) = played(scenario, {0: 1}, 300)
    assert end["wrap_s"] == pytest.approx(end["talk_s"] / 2)
    assert end["talk_s"] != pytest.approx(30)
    speeds = np.array([agent.speed for agent in SimpyFloor(scenario, script({}), 2)._team.agents])
    assert abs(speeds.mean() - 1) < Z * speeds.std() / math.sqrt(2000)
    assert np.log(speeds).std() == pytest.approx(0.5, abs=Z * 0.5 / math.sqrt(4000))


def test_shift__logs_in_and_out_and_finishes_its_call() -> None:
    # in from 60; a call answered at 115 lasts until 145, log-out is due at 120
    shift = {"n_agents": 1, "login": "10:01", "logout": "10:02"}
    (end,) = played(world(floor={"shifts": [shift]}), {105: 1}, 300)
    assert (end["connected"], end["talk_s"], end["idle_s"]) == (1, 30, 55)
    assert end["off_s"] == 60 + 155


def test_shift__idle_agent_leaves_at_once_and_calls_in_flight_find_nobody() -> None:
    shift = {"n_agents": 1, "logout": "10:02"}
    (end,) = played(world(floor={"shifts": [shift]}), {115: 1}, 300)
    assert (end["silent_cut"], end["off_s"], end["available_s"]) == (1, 180, 120)


def test_lunch__is_taken_at_its_time_or_after_the_call() -> None:
    # agent 0 talks from 110 to 140 and has lunch until 200; agent 1 from 120 to 180
    shift = {"n_agents": 2, "lunch": {"at": "10:02", "duration": 60}}
    scenario = world(floor={"n_agents": 2, "shifts": [shift]})
    at_130, at_150, at_190, end = played(scenario, {100: 1}, 130, 150, 190, 300)
    assert [t["break_s"] for t in (at_130, at_150, at_190, end)] == [10, 40, 110, 120]
    assert end["idle_s"] == 600 - 30 - 120


def test_lunch__over_the_logout_ends_with_the_lunch() -> None:
    shift = {"n_agents": 1, "logout": "10:03", "lunch": {"at": "10:02", "duration": 90}}
    (end,) = played(world(floor={"shifts": [shift]}), {}, 300)
    assert (end["idle_s"], end["break_s"], end["off_s"]) == (120, 90, 90)


def test_break__is_not_taken_when_a_log_out_is_due() -> None:
    # talk 35 to 65, log-out due at 60, wrap to 70
    shift = {"n_agents": 1, "login": "09:00", "logout": "10:01"}
    breaks = {"p_after_wrap": 1.0, "duration": constant(20)}
    scenario = world(floor={"shifts": [shift], "wrap": constant(5), "breaks": breaks})
    (end,) = played(scenario, {25: 1}, 300)
    assert (end["break_s"], end["wrap_s"], end["off_s"]) == (0, 5, 230)


def test_success__counts_conversations() -> None:
    assert moment(world(floor={"p_success": 1.0}), {0: 1}, "successes") == 40  # when it ends
    (end,) = played(world(floor={"p_success": 1.0}), {0: 1, 50: 1}, 300)
    assert end["successes"] == end["connected"] == 2


# ------------------------------------------------------------------------------------- people


def test_retries__go_before_new_people_and_attempts_run_out() -> None:
    # person 0 at 0 and 1 at 5, no answer at 20 and 25; due again at 50 and 55, done at 70 and 75
    people = {"n_people": 3, "retry": {"no_answer_s": 30}, "max_attempts": 2}
    scenario = world(calls=never_answered(), people=people)
    assert [moment(scenario, {0: 1, 5: 1, 60: 9}, "dialed", n) for n in (2, 3)] == [5.25, 60.25]
    at_71, end = played(scenario, {0: 1, 5: 1, 50: 1, 55: 9}, 71, 300)
    assert at_71["dialed"] == 5  # person 1 again and person 2 for the first time at 55
    assert at_71["people_done"] == 1
    assert end["people_done"] == 2


@pytest.mark.parametrize(
    ("outcome", "pause", "at"),
    [("busy", "busy_s", 60), ("machine", "machine_s", 60), ("failure", "failure_s", 60)],
)
def test_retry__has_the_pause_of_its_outcome(outcome: str, pause: str, at: int) -> None:
    endings = [{"outcome": outcome, "share": 1, "time": constant(10)}]
    people = {"n_people": 1, "retry": {pause: 50}}
    scenario = world(calls=never_answered(endings), people=people)
    assert moment(scenario, always_one, "dialed", 2) == at + 0.25  # decided at 60


def test_done__after_a_conversation_or_an_invalid_number() -> None:
    (talked,) = played(world(people={"n_people": 2}), always_one, 300)
    assert (talked["dialed"], talked["connected"], talked["silent_cut"]) == (2, 1, 1)
    assert talked["people_done"] == 1
    endings = [{"outcome": "invalid", "share": 1, "time": constant(10)}]
    (invalid,) = played(
        world(calls=never_answered(endings), people={"n_people": 2}), always_one, 300
    )
    assert (invalid["dialed"], invalid["people_done"]) == (2, 2)


def test_refusal_pause__brings_the_person_back() -> None:
    # conversation from 10 to 40; due again 50 s later
    scenario = world(people={"n_people": 1}, rule={"refusal_pause_s": 50})
    assert moment(scenario, always_one, "dialed", 2) == 90.25


def test_machine_pause__holds_only_after_a_verdict() -> None:
    # AMD: verdict at 12, again 100 s later; without AMD 40 s after the pick-up at 10
    people = {"n_people": 1, "retry": {"machine_s": 40}}
    rule = {"machine_pause_s": 100}
    with_amd = world(calls=never_answered(MACHINE) | amd(2), people=people, rule=rule)
    assert moment(with_amd, always_one, "dialed", 2) == 112.25
    without = world(calls=never_answered(MACHINE), people=people, rule=rule)
    assert moment(without, always_one, "dialed", 2) == 50.25


def test_repeats__raise_the_harm() -> None:
    # the agent comes at 240 only; dialed at 0, 33 and 66: silent at 13, 46 and 79
    shift = {"n_agents": 1, "login": "10:04"}
    people = {"n_people": 1, "retry": {"no_answer_s": 20}, "max_attempts": 3}
    scenario = world(floor={"shifts": [shift]}, people=people)
    at_50, end = played(scenario, always_one, 50, 300)
    assert (at_50["repeats"], at_50["harm"]) == (1, 1 + 2)
    assert (end["silent"], end["repeats"], end["harm"]) == (3, 2, 1 + 2 + 4)
    assert end["people_done"] == 1


def test_quarantine__ends_with_a_reserved_call() -> None:
    # silent at 13; due at 73: the agent is held from then until the answer at 83
    rule = {"quarantine_s": 60, "reserved_after_silent": True}
    at_72, at_80, end = played(world(people={"n_people": 2}, rule=rule), {0: 2}, 72, 80, 300)
    assert (at_72["dialed"], at_72["silent_cut"], at_72["reserved"]) == (2, 1, 0)
    assert (at_80["dialed"], at_80["reserved"], at_80["held_s"]) == (3, 1, 7)
    assert (end["connected"], end["held_s"], end["people_done"]) == (2, 10, 2)


def test_reserved_call__waits_for_a_released_agent_and_comes_again() -> None:
    # Three people at 0: one is talked to until 110, two are silent at 13 and due at 73. The freed
    # agent is held for person 1 (110 to 120), talks until 220, then is held for person 2.
    rule = {"quarantine_s": 60, "reserved_after_silent": True}
    scenario = world(floor={"talk": constant(100)}, people={"n_people": 3}, rule=rule)
    plan = {0: 3}
    assert moment(scenario, plan, "reserved") == 110
    assert moment(scenario, plan, "reserved", 2) == 220
    (end,) = played(scenario, plan, 300)
    assert (end["held_s"], end["talk_s"]) == (20, 100 + 100 + 70)


def test_reserved_calls__hold_no_more_than_their_share() -> None:
    # 10 agents in from 60, 20 % may be held; five people silent at 13 are due at 73
    shift = {"n_agents": 10, "login": "10:01"}
    rule = {"quarantine_s": 60, "reserved_after_silent": True}
    scenario = world(
        floor={"n_agents": 10, "shifts": [shift], "reserved_share": 0.2},
        people={"n_people": 5},
        rule=rule,
    )
    at_80, at_90, end = played(scenario, {0: 5}, 80, 90, 300)
    assert (at_80["reserved"], at_90["reserved"], end["reserved"]) == (2, 4, 5)


def test_reserved_calls__hold_nobody_with_a_share_of_0() -> None:
    rule = {"quarantine_s": 60, "reserved_after_silent": True}
    scenario = world(floor={"reserved_share": 0}, people={"n_people": 2}, rule=rule)
    (end,) = played(scenario, {0: 2}, 300)
    assert (end["silent_cut"], end["reserved"], end["held_s"]) == (1, 0, 0)


def test_reserved_calls__keep_the_distance_of_starts() -> None:
    # One start in 4 s. Dialed at 0, 4 and 8: silent at 13, 17 and 21, due at 73, 77 and 81. The
    # policy's dial of 72 starts at once; so the reserved call of 73 may start at 76, is placed at
    # 75 and pushes the next one to 80: placed at 79.
    shift = {"n_agents": 10, "login": "10:01"}
    rule = {"quarantine_s": 60, "reserved_after_silent": True}
    scenario = world(
        floor={"n_agents": 10, "shifts": [shift], "reserved_share": 1},
        calls={"calls_per_s": 0.25},
        people={"n_people": 4},
        rule=rule,
    )
    plan = {0: 1, 4: 1, 8: 1, 72: 1}
    assert [moment(scenario, plan, "reserved", n) for n in (1, 2, 3)] == [75.25, 79.25, 83.25]
    assert moment(scenario, plan, "connected", 2) == 86  # placed at 75, started at 76


def test_reserved_call__to_a_machine_comes_again_after_the_pause() -> None:
    # Callback due at 50; from 10:00 on machines answer, without detection the held agent handles
    # them for 6 s; their pause of 40 s is counted from their end.
    people = {
        "n_people": 1,
        "p_callback": 1.0,
        "callback_after": constant(10),
        "retry": {"machine_s": 40},
        "segments": [{"share": 1, "by_hour": [1.0] * 10 + [0.0] + [1.0] * 13}],
    }
    detection = {"kind": "none", "machine_handling": constant(6)}
    scenario = world(
        calls={"unanswered": MACHINE, "detection": detection},
        people=people,
        episode={"start": "09:59", "duration_s": 300},
    )
    at_59, at_69, end = played(scenario, {0: 1}, 59, 107, 300)
    # 10:00 comes at 60, so the call of 50 is still answered by the person, at 60; the next
    # callback, due 10 s after the talk, at 100, meets a machine at 110, handled until 116, and
    # again at 156
    assert (at_59["callbacks"], at_59["reserved"], at_59["held_s"]) == (1, 1, 9)
    assert (at_69["callbacks"], at_69["reserved"], at_69["connected"]) == (2, 2, 2)
    assert moment(scenario, {0: 1}, "machine_agent") == 110
    assert moment(scenario, {0: 1}, "reserved", 3) == 156.25
    assert end["machine_agent"] == end["reserved"] - 1


def test_reserved_call__is_not_in_flight_for_the_rule() -> None:
    # Two agents in from 60. The held one and its call (73 to 83) are out of the rule's sight.
    seen: dict[float, tuple[int, int]] = {}

    def rule(floor: SimpyFloor) -> int:
        seen[floor.env.now] = (floor.n_idle, floor.n_in_flight)
        return int(floor.env.now in (0, 75))

    shift = {"n_agents": 2, "login": "10:01"}
    rules = {"quarantine_s": 60, "reserved_after_silent": True}
    scenario = world(floor={"n_agents": 2, "shifts": [shift]}, people={"n_people": 2}, rule=rules)
    played(scenario, rule, 90)
    assert [seen[t] for t in (72, 73, 76, 84)] == [(2, 0), (1, 0), (1, 1), (1, 1)]


def test_callback__is_a_reserved_call() -> None:
    # talked to from 10 to 40; due 10 s after 40; held 50 to 60, talked to from 60
    people = {"n_people": 1, "p_callback": 1.0, "callback_after": constant(10)}
    at_39, at_70 = played(world(people=people), {0: 1}, 39, 70)
    assert at_39["callbacks"] == 0  # decided at the end of the talk
    assert (at_70["callbacks"], at_70["reserved"], at_70["connected"]) == (1, 1, 2)
    assert (at_70["held_s"], at_70["people_done"]) == (10, 0)


@pytest.mark.parametrize(
    ("caps", "days"),
    [
        ({"per_day": 1}, [0, 1, 2, 3]),  # once each day until the attempts are used up
        ({"per_week": 1}, [0, 4, 11, 18]),  # Thursday 9 April, then Mondays
        ({"per_30_days": 1}, [0, 30]),
        ({"per_30_days": 2}, [0, 0, 30, 30]),
        ({"per_campaign": 3}, [0, 0, 0]),
    ],
)
def test_caps__say_on_which_days_a_person_is_dialed(caps: dict[str, int], days: list[int]) -> None:
    scenario = world(
        calls=never_answered(),
        people={"n_people": 1, "retry": {"no_answer_s": 30}, "max_attempts": 4},
        rule={"attempts": caps},
        episode={"first_day": "2026-04-09", "n_days": 32, "duration_s": 200},
    )
    floor = SimpyFloor(scenario, always_one, 1)
    so_far = [0.0] + [floor.run(day * 86_400 + 3600.0)["dialed"] for day in range(32)]
    n_dials = np.diff(so_far).astype(int)
    assert np.repeat(np.arange(32), n_dials).tolist() == days


def test_cap_in_30_days__counts_elapsed_time() -> None:
    # clocks go forward on 29 March: after 30 days the session has opened an hour too early
    scenario = world(
        calls=never_answered(),
        people={"n_people": 1, "retry": {"no_answer_s": 30}},
        rule={"attempts": {"per_30_days": 1}},
        episode={"first_day": "2026-03-05", "n_days": 32, "duration_s": 200},
    )
    day_30, end = played(scenario, always_one, 30 * 86_400 + 3600, 31 * 86_400)
    assert (day_30["dialed"], end["dialed"]) == (1, 2)


def test_segments__have_their_own_hours_and_zones() -> None:
    # 8:00 in Los Angeles is 11:00 in New York, half an hour after the opening; there by_hour is 0
    segment = {
        "share": 1,
        "time_zone": "America/Los_Angeles",
        "by_hour": [1.0] * 8 + [0.0] + [1.0] * 15,
    }
    greeting = {"start": constant(1), "length": constant(1)}
    scenario = world(
        calls={"greeting": greeting},
        people={"n_people": 2, "segments": [segment], "retry": {"no_answer_s": 2_592_000}},
        rule={"profile": "us_tsr"} | {"id": "us", "cap": 0.03, "wait_limit_s": 2},
        episode={
            "first_day": "2026-06-02",
            "start": "10:30",
            "duration_s": 3600,
            "close_s": 20,
            "time_zone": "America/New_York",
        },
    )
    before, after, end = played(scenario, always_one, 1799.5, 1800.5, 3600)
    assert (before["dialed"], after["dialed"], end["dialed"]) == (0, 1, 2)
    assert (end["no_answer"], end["answered"]) == (2, 0)


# ----------------------------------------------------------------------------------- sessions


def test_sessions__conversations_outlast_the_close_and_days_differ() -> None:
    # days of 200 s; a call answered at 195 lasts until 225, then the agent is off until 86,400
    rate = {"kind": "drifting", "p_low": 0.95, "p_high": 1.0, "ou_sd": 0.0}
    scenario = world(
        calls={"answer_rate": rate},
        episode={"first_day": "2026-03-02", "n_days": 2, "duration_s": 200},
    )
    floor = SimpyFloor(scenario, script({185: 1}), 3)
    first = floor.day
    assert floor.run(220)["talk_s"] == 25
    night = floor.run(86_399)
    assert (night["talk_s"], night["idle_s"]) == (30, 195)
    assert night["off_s"] == 86_399 - 225
    end = floor.run()
    assert floor.day.level != first.level
    assert end["idle_s"] == 195 + 200


def test_dial_from__and_until_bound_the_dials() -> None:
    scenario = world(episode={"dial_from": "10:01", "dial_until": "10:02"})
    assert moment(scenario, always_one, "dialed") == 60.25
    (end,) = played(scenario, always_one, 300)
    assert end["dialed"] == 60  # at 60, 61, ..., 119
