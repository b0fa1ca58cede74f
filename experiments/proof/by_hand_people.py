"""Cases worked out by hand: people of the list, reserved calls, caps over days, sessions."""

from __future__ import annotations

from quietdial.experiments.proof.by_hand_worlds import (
    EVERY_SECOND,
    Case,
    Data,
    amd,
    constant,
    dialed,
    no_one,
    world,
)


def people_cases() -> dict[str, Case]:
    """The cases by name."""
    reserved = {"quarantine_s": 60, "reserved_after_silent": True}
    at_12 = no_one("machine", 10)
    pauses = {
        f"pause after {outcome}": Case(
            world(calls=no_one(outcome, 10), people={"n_people": 1, "retry": {f"{outcome}_s": 50}}),
            EVERY_SECOND,
            dialed(60, 2),
        )
        for outcome in ("busy", "machine", "failure", "no_answer")
    }
    return (
        pauses
        | {
            # person 0 at 0 and 1 at 5, no answer at 20, 25; due again at 50, 55, done at 70, 75
            "retries before new people": Case(
                world(
                    calls=no_one(),
                    people={"n_people": 3, "retry": {"no_answer_s": 30}, "max_attempts": 2},
                ),
                {0: 1, 5: 1, 50: 1, 55: 9},
                {
                    71: {"dialed": 5, "people_done": 1},
                    300: {"people_done": 2},
                },
            ),
            "done after a conversation": Case(
                world(people={"n_people": 2}),
                EVERY_SECOND,
                {300: {"dialed": 2, "connected": 1, "silent_cut": 1, "people_done": 1}},
            ),
            "done after an invalid number": Case(
                world(calls=no_one("invalid", 10), people={"n_people": 2}),
                EVERY_SECOND,
                {300: {"dialed": 2, "people_done": 2}},
            ),
            # conversation from 10 to 40; due again 50 s later
            "pause after a refusal": Case(
                world(people={"n_people": 1}, rule={"refusal_pause_s": 50}),
                EVERY_SECOND,
                dialed(90, 2),
            ),
            # verdict at 12, again 100 s later
            "pause after a verdict": Case(
                world(
                    calls=at_12 | amd(2),
                    people={"n_people": 1, "retry": {"machine_s": 40}},
                    rule={"machine_pause_s": 100},
                ),
                EVERY_SECOND,
                dialed(112, 2),
            ),
            # the agent comes at 240 only; dialed at 0, 33 and 66: silent at 13, 46 and 79
            "repeats raise the harm": Case(
                world(
                    floor={"shifts": [{"n_agents": 1, "login": "10:04"}]},
                    people={"n_people": 1, "retry": {"no_answer_s": 20}, "max_attempts": 3},
                ),
                EVERY_SECOND,
                {
                    50: {"repeats": 1, "harm": 3},
                    300: {"silent": 3, "repeats": 2, "harm": 7, "people_done": 1},
                },
            ),
            # silent at 13; due at 73: the agent is held from then until the answer at 83
            "quarantine": Case(
                world(people={"n_people": 2}, rule=reserved),
                {0: 2},
                {
                    72: {"dialed": 2, "silent_cut": 1, "reserved": 0},
                    80: {"dialed": 3, "reserved": 1, "held_s": 7},
                    300: {"connected": 2, "held_s": 10, "people_done": 2},
                },
            ),
            "quarantine without a reserved call": Case(
                world(
                    people={"n_people": 2, "retry": {"no_answer_s": 20}}, rule={"quarantine_s": 60}
                ),
                {**EVERY_SECOND, 0: 2},
                {**dialed(73, 3), 300: {"reserved": 0, "held_s": 0, "connected": 2}},
            ),
            # Three people at 0: one is talked to until 110, two are silent at 13 and due at 73. The
            # freed agent is held for person 1 (110 to 120), talks until 220, is held for person 2.
            "reserved call of a released agent": Case(
                world(floor={"talk": constant(100)}, people={"n_people": 3}, rule=reserved),
                {0: 3},
                {
                    109.75: {"reserved": 0},
                    110: {"reserved": 1},
                    219.75: {"reserved": 1},
                    220: {"reserved": 2},
                    300: {"held_s": 20, "talk_s": 270},
                },
            ),
            # 10 agents in from 60, 20 % may be held; five people silent at 13 are due at 73
            "share of held agents": Case(
                world(
                    floor={
                        "n_agents": 10,
                        "shifts": [{"n_agents": 10, "login": "10:01"}],
                        "reserved_share": 0.2,
                    },
                    people={"n_people": 5},
                    rule=reserved,
                ),
                {0: 5},
                {80: {"reserved": 2}, 90: {"reserved": 4}, 300: {"reserved": 5, "held_s": 50}},
            ),
            # talked to from 10 to 40; due at 80; held 80 to 90, talked to from 90 to 120
            "callback": Case(
                world(people={"n_people": 1, "p_callback": 1.0, "callback_after": constant(40)}),
                {0: 1},
                {
                    39: {"callbacks": 0},
                    95: {
                        "callbacks": 1,
                        "reserved": 1,
                        "connected": 2,
                        "held_s": 10,
                        "people_done": 0,
                    },
                    120: {"callbacks": 2, "reserved": 1},
                },
            ),
            # talked to from 10 to 40; from 10:00, at 60, nobody answers: held 100 to 120, 160 to
            # 180, 220 to 240 and 280 to 300
            "reserved call that nobody answers": Case(
                world(
                    people={
                        "n_people": 1,
                        "p_callback": 1.0,
                        "callback_after": constant(60),
                        "retry": {"no_answer_s": 40},
                        "segments": [{"share": 1, "by_hour": [1.0] * 10 + [0.0] + [1.0] * 13}],
                    },
                    episode={"start": "09:59", "duration_s": 300},
                ),
                {0: 1},
                {
                    119.75: {"held_s": 19.75, "reserved": 1, "no_answer": 0},
                    159.75: {"held_s": 20, "reserved": 1, "no_answer": 1},
                    160.25: {"reserved": 2},
                    279: {"held_s": 60, "talk_s": 30, "idle_s": 189},
                },
            ),
            # talked to from 10 to 40; the callback is due at 50, before 10:00, and answered at 60;
            # that talk ends at 90; the next, due at 100, meets a machine at 110, handled until 116
            "reserved call to a machine": Case(
                world(
                    calls={
                        "unanswered": [{"outcome": "machine", "share": 1, "time": constant(10)}],
                        "detection": {"kind": "none", "machine_handling": constant(6)},
                    },
                    people={
                        "n_people": 1,
                        "p_callback": 1.0,
                        "callback_after": constant(10),
                        "retry": {"machine_s": 40},
                        "segments": [{"share": 1, "by_hour": [1.0] * 10 + [0.0] + [1.0] * 13}],
                    },
                    episode={"start": "09:59", "duration_s": 300},
                ),
                {0: 1},
                {
                    59: {"callbacks": 1, "reserved": 1, "held_s": 9},
                    107: {"callbacks": 2, "reserved": 2, "connected": 2, "held_s": 17},
                    109.75: {"machine_agent": 0},
                    110: {"machine_agent": 1},
                    116: {"machine_s": 6},
                },
            ),
        }
        | _days()
    )


def _days() -> dict[str, Case]:
    """Caps over days: dials by the end of each day's first hour (sessions of 200 s)."""

    def caps(caps_: Data, days: list[int], first_day: str = "2026-04-09") -> Case:
        scenario = world(
            calls=no_one(),
            people={"n_people": 1, "retry": {"no_answer_s": 30}, "max_attempts": 4},
            rule={"attempts": caps_},
            episode={"first_day": first_day, "n_days": 32, "duration_s": 200},
        )
        every: dict[int, int] = {}
        for day in range(32):
            for hour in (-3600, 0, 3600):  # whatever the clocks do
                every |= dict.fromkeys(range(86_400 * day + hour, 86_400 * day + hour + 200), 1)
        expected = {
            86_400.0 * day - 7200: {"dialed": sum(d < day for d in days)} for day in range(1, 32)
        }
        return Case(scenario, every, expected)

    return {
        "cap a day": caps({"per_day": 1}, [0, 1, 2, 3]),
        # Thursday 9 April, then Mondays
        "cap a week": caps({"per_week": 1}, [0, 4, 11, 18]),
        "cap in 30 days": caps({"per_30_days": 1}, [0, 30]),
        "two in 30 days": caps({"per_30_days": 2}, [0, 0, 30, 30]),
        "cap a campaign": caps({"per_campaign": 3}, [0, 0, 0]),
        # clocks go forward on 29 March: after 30 days the session has opened an hour too early
        "30 days are elapsed time": caps({"per_30_days": 1}, [0, 31], "2026-03-05"),
        # at 60, 61, ..., 119
        "switch": Case(
            world(episode={"dial_from": "10:01", "dial_until": "10:02"}),
            EVERY_SECOND,
            {**dialed(60, 1), 300: {"dialed": 60}},
        ),
        "close": Case(
            world(episode={"close_s": 60}),
            EVERY_SECOND,
            {239: {"dialed": 239}, 240: {"dialed": 240}, 300: {"dialed": 240}},
        ),
        # days of 200 s; a call answered at 195 lasts until 225, over the close
        "two days": Case(
            world(episode={"first_day": "2026-03-02", "n_days": 2, "duration_s": 200}),
            {185: 1, 86_400: 1},
            {
                199.75: {"talk_s": 4.75},
                86_400: {"talk_s": 30, "idle_s": 195, "off_s": 86_400 - 225},
                86_550: {"connected": 2, "talk_s": 60, "idle_s": 195 + 10 + 110},
            },
        ),
    }
