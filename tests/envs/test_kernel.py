"""Worlds so small that every event can be worked out by hand, to the millisecond."""

import numpy as np
import pytest
from gymnasium.spaces import Discrete
from scipy import stats

from quietdial.envs import Scenario
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    BEGAN,
    BREAK,
    CALL_NUMBER,
    COUNT,
    DAY_P0,
    DAY_TURN,
    DRIFT_X,
    END,
    FREE,
    IDLE,
    IN_FLIGHT,
    NOW,
    OPEN_ANSWERED,
    OPEN_SILENT,
    P_ANSWER,
    TALK,
    WAITING,
    WRAP,
)
from quietdial.envs.pacing.world import World


def constant(seconds):
    return {"kind": "constant", "value_s": seconds}


def toy(**changes):
    """One agent; every dial is answered after 5 s; conversations of 20 s; cut after 3 s."""
    agents = changes.pop("agents", 1)
    floor = {"n_agents": agents, "talk": constant(changes.pop("talk", 20.0))}
    floor |= changes.pop("floor", {})
    calls = {
        "answer_rate": {"kind": "constant", "p": changes.pop("p", 1.0)},
        "time_to_answer": constant(changes.pop("answer", 5.0)),
        "unanswered": [{"outcome": "no_answer", "share": 1.0, "time": constant(10.0)}],
        "max_dials_per_decision": 10,
    }
    calls |= changes.pop("calls", {})
    episode = {"duration_s": 120.0, "close_s": 0.0} | changes.pop("episode", {})
    rule = {"id": "toy", "cap": 0.03, "wait_limit_s": changes.pop("limit", 3.0)}
    assert not changes, changes
    data = {"name": "toy", "floor": floor, "calls": calls, "rule": rule, "episode": episode}
    return Scenario.model_validate(data)


class Toy:
    """A world of one campaign; `dial` says how many calls the decision of each second places."""

    def __init__(self, scenario, action="dials", value=None):
        self.world = World(1, scenario, observation="none", action=action)
        self.every = np.ones(1, np.bool_)
        self.world.begin(self.every, [1])
        self.value = value

    def play(self, until_s, dial=None):
        """Play up to `until_s`, with decisions at every interval."""
        dial = dial or {}
        while self.head(NOW) < round(until_s * 1000):
            action = dial.get(self.head(NOW) / 1000, 0) if self.value is None else self.value
            self.world.step(np.array([action]), self.every)
        return self

    def head(self, column):
        return int(self.world.state.head[0, column])

    def agent(self, number=0):
        """State of an agent and the second since which it lasts."""
        row = self.world.state.agent[0, number]
        return int(row[AGENT_STATE]), row[AGENT_SINCE] / 1000

    def __getitem__(self, name):
        return float(self.world.totals()[name][0])


# --- one call ---------------------------------------------------------------------------------


def test_answer__connects_to_the_idle_agent_at_once():
    toy_ = Toy(toy(answer=4.321, talk=20.5)).play(4, {0: 1})
    assert (toy_.head(IN_FLIGHT), toy_["answered"], toy_.agent()) == (1, 0, (IDLE, 0.0))
    toy_.play(5)
    assert (toy_.head(IN_FLIGHT), toy_["connected"], toy_.agent()) == (0, 1, (TALK, 4.321))
    toy_.play(24)
    assert toy_.agent() == (TALK, 4.321)
    toy_.play(25)
    assert toy_.agent() == (IDLE, 24.821)
    assert (toy_["talk_s"], toy_["idle_s"], toy_["waiting_s"]) == (20.5, 4.5, 0.0)


def test_answer__on_the_millisecond_of_the_decision_belongs_to_the_step_before():
    assert Toy(toy()).play(5, {0: 1})["connected"] == 1
    assert Toy(toy(answer=5.001)).play(5, {0: 1})["connected"] == 0


@pytest.mark.parametrize("outcome", ["machine", "busy", "no_answer", "invalid"])
def test_ending__is_counted_by_its_name_at_its_time(outcome):
    ending = {"outcome": outcome, "share": 1.0, "time": constant(2.5)}
    toy_ = Toy(toy(p=0.0, calls={"unanswered": [ending]})).play(2, {0: 3})
    assert (toy_[outcome], toy_.head(IN_FLIGHT)) == (0, 3)
    toy_.play(3)
    assert (toy_[outcome], toy_.head(IN_FLIGHT), toy_["answered"]) == (3, 0, 0)
    assert sum(toy_[name] for name in ("machine", "busy", "no_answer", "invalid")) == 3


def test_wrap_and_break__follow_the_conversation():
    floor = {"wrap": constant(4.0), "breaks": {"p_after_wrap": 1.0, "duration": constant(6.0)}}
    toy_ = Toy(toy(talk=5.0, floor=floor))
    seen = {t: toy_.play(t, {0: 1}).agent() for t in (9, 10, 13, 14, 19, 20)}
    assert seen == {
        9: (TALK, 5.0),
        10: (WRAP, 10.0),
        13: (WRAP, 10.0),
        14: (BREAK, 14.0),
        19: (BREAK, 14.0),
        20: (IDLE, 20.0),
    }
    toy_.play(21)
    assert [toy_[n] for n in ("idle_s", "talk_s", "wrap_s", "break_s")] == [6.0, 5.0, 4.0, 6.0]
    assert toy_["available_s"] == 15.0


def test_break__also_follows_a_conversation_without_wrap():
    floor = {"breaks": {"p_after_wrap": 1.0, "duration": constant(6.0)}}
    toy_ = Toy(toy(talk=5.0, floor=floor)).play(10, {0: 1})
    assert toy_.agent() == (BREAK, 10.0)
    assert Toy(toy(talk=5.0)).play(10, {0: 1}).agent() == (IDLE, 10.0)


# --- two answered calls, one agent ----------------------------------------------------------------


def test_second_answer__waits_and_is_cut_exactly_at_the_limit():
    toy_ = Toy(toy()).play(7, {0: 2})
    assert (toy_["answered"], toy_["connected"], toy_.head(WAITING)) == (2, 1, 1)
    assert (toy_["silent"], toy_["waiting_s"]) == (0, 2.0)
    toy_.play(8)
    assert (toy_["silent_cut"], toy_["silent_left"], toy_.head(WAITING)) == (1, 0, 0)
    toy_.play(30)
    assert (toy_["silent"], toy_["waiting_s"], toy_["connected"]) == (1, 3.0, 1)


def test_second_answer__is_connected_when_an_agent_is_free_before_the_limit():
    toy_ = Toy(toy(talk=2.25)).play(8, {0: 2})
    assert (toy_["connected"], toy_["silent"], toy_["waiting_s"]) == (2, 0, 2.25)
    assert toy_.agent() == (TALK, 7.25)
    assert Toy(toy(talk=2.25)).play(60, {0: 2})["silent"] == 0


@pytest.mark.parametrize(("talk", "silent"), [(2.999, 0), (3.0, 0), (3.001, 1)])
def test_tie__an_agent_freed_on_the_millisecond_of_the_cut_takes_the_call(talk, silent):
    toy_ = Toy(toy(talk=talk)).play(9, {0: 2})
    assert (toy_["silent"], toy_["connected"]) == (silent, 2 - silent)
    assert toy_["waiting_s"] == min(talk, 3.0)


def test_tie__an_agent_freed_on_the_millisecond_of_an_answer_takes_it_at_once():
    toy_ = Toy(toy(talk=2.0)).play(7, {0: 1, 2: 1})
    assert (toy_["connected"], toy_["waiting_s"], toy_.head(WAITING)) == (2, 0.0, 0)
    assert toy_.agent() == (TALK, 7.0)


def test_tie__of_two_answers_the_first_dial_is_connected():
    toy_ = Toy(toy()).play(6, {0: 2})
    slot = toy_.world.state.waiting[0, 0]
    assert toy_.world.state.call[0, slot, CALL_NUMBER] == 1


@pytest.mark.parametrize(
    ("patience", "left", "waited"), [(1.25, 1, 1.25), (3.0, 0, 3.0), (9.0, 0, 3.0)]
)
def test_patience__a_callee_who_leaves_before_the_limit_is_silent_left(patience, left, waited):
    toy_ = Toy(toy(calls={"patience": constant(patience)})).play(20, {0: 2})
    assert (toy_["silent_left"], toy_["silent_cut"]) == (left, 1 - left)
    assert (toy_["silent"], toy_["waiting_s"]) == (1, waited)


def test_patience__is_spared_by_an_agent_on_the_same_millisecond():
    calls = {"patience": constant(1.25)}
    assert Toy(toy(talk=1.25, calls=calls)).play(20, {0: 2})["silent"] == 0


def test_no_waiting__the_call_is_cut_when_it_is_answered():
    toy_ = Toy(toy(limit=0.0)).play(5, {0: 3})
    assert (toy_["silent_cut"], toy_["connected"], toy_["waiting_s"]) == (2, 1, 0.0)
    assert toy_.head(WAITING) == 0


def test_waiting__longest_first():
    toy_ = Toy(toy(talk=4.5, limit=5.0)).play(13, {0: 1, 1: 1, 2: 1})
    # answered at 5 (talks until 9.5), at 6 (waits 3.5 s), at 7 (cut at 12)
    assert (toy_["connected"], toy_["silent"], toy_["waiting_s"]) == (2, 1, 8.5)


def test_idle__longest_first():
    toy_ = Toy(toy(agents=2, talk=2.0)).play(8, {0: 1, 3: 1})
    # agent 0 talks from 5 to 7; at 8 agent 1 has been idle for longer
    assert (toy_.agent(0), toy_.agent(1)) == ((IDLE, 7.0), (TALK, 8.0))
    toy_.play(13, {8: 2})
    # at 13 agent 0 (idle since 7) and agent 1 (idle since 10) take one call each
    assert (toy_.agent(0), toy_.agent(1)) == ((TALK, 13.0), (TALK, 13.0))


# --- limits of dialing ----------------------------------------------------------------------------


def test_close__stops_dialing_and_drains():
    scenario = toy(p=0.0, episode={"duration_s": 60.0, "close_s": 20.0})
    toy_ = Toy(scenario, value=1).play(40)
    assert (toy_["dialed"], toy_.head(IN_FLIGHT)) == (40, 9)  # the dial of second 30 just ended
    toy_.play(60)
    assert (toy_["dialed"], toy_["no_answer"], toy_.head(IN_FLIGHT)) == (40, 40, 0)
    assert toy_.head(NOW) == toy_.head(END) == 60_000


def test_max_lines__bounds_calls_in_flight_and_waiting():
    toy_ = Toy(toy(calls={"max_lines": 3})).play(1, {0: 10})
    assert (toy_["dialed"], toy_.head(FREE)) == (3, 0)
    toy_.play(6, {5: 10})  # at 5: one connected, two wait and keep their lines
    assert (toy_["dialed"], toy_.head(WAITING), toy_.head(FREE)) == (4, 2, 0)
    toy_.play(9, {8: 10})  # at 8 both were cut
    assert toy_["dialed"] == 6


def test_max_dials__bounds_every_action():
    scenario = toy(calls={"max_dials_per_decision": 4})
    assert World(1, scenario, action="dials").action_space == Discrete(5)
    for action, value in (("ratio", 20.0), ("theta", 1.0)):
        toy_ = Toy(scenario, action, value).play(1)
        assert toy_["dialed"] == 4
    assert (
        Toy(toy(agents=9, calls={"max_dials_per_decision": 4}), "progressive", 0).play(1)["dialed"]
        == 4
    )


# --- controllers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("period", "dialed"), [(None, 2), (1.0, 4), (0.25, 6), (5.0, 4)])
def test_controller_period__the_set_point_acts_between_decisions(period, dialed):
    ending = {"outcome": "no_answer", "share": 1.0, "time": constant(2.5)}
    episode = {"decision_interval_s": 5.0, "controller_period_s": period}
    scenario = toy(p=0.0, calls={"unanswered": [ending]}, episode=episode)
    # two calls at 0 end at 2.5; period .25: replaced at 2.5 and 5, period 1: at 3, period 5: at 5
    assert Toy(scenario, "ratio", 2.0).play(5)["dialed"] == dialed


def test_controller_period__acts_after_the_events_of_its_millisecond():
    episode = {"decision_interval_s": 60.0, "controller_period_s": 1.0}
    toy_ = Toy(toy(talk=7.0, episode=episode), "progressive", 0).play(60)
    # dial 0, talk 5 to 12, dial at 12 in the same millisecond, talk 17 to 24, ...
    assert toy_["dialed"] == 6
    assert (toy_["idle_s"], toy_["talk_s"]) == (25.0, 35.0)


def test_one_shot_actions__are_not_repeated_by_the_controller():
    episode = {"controller_period_s": 0.25, "controller_on_release": True}
    assert Toy(toy(episode=episode)).play(30, {0: 2})["dialed"] == 2


def test_controller_on_release__dials_when_an_agent_becomes_free():
    episode = {"decision_interval_s": 60.0, "controller_on_release": True}
    toy_ = Toy(toy(talk=10.25, episode=episode), "progressive", 0).play(60)
    # dial 0, talk 5 to 15.25, dial, talk 20.25 to 30.5, dial, 35.5 to 45.75, dial, from 50.75
    assert (toy_["dialed"], toy_["connected"]) == (4, 4)
    assert toy_.agent() == (TALK, 50.75)
    episode["controller_on_release"] = False
    assert Toy(toy(talk=10.25, episode=episode), "progressive", 0).play(60)["dialed"] == 1


def test_progressive__one_line_per_idle_agent():
    toy_ = Toy(toy(agents=3), "progressive", 0).play(5)
    assert toy_["dialed"] == 3
    toy_.play(25)
    assert (toy_["dialed"], toy_.head(COUNT + TALK)) == (3, 0)
    assert toy_.play(26)["dialed"] == 6


def test_ratio__keeps_ratio_times_idle_in_flight():
    toy_ = Toy(toy(agents=3, p=0.0), "ratio", 2.0).play(1)
    assert toy_["dialed"] == 6
    assert (toy_.play(10)["dialed"], toy_.play(11)["dialed"]) == (6, 12)


@pytest.mark.parametrize("action", range(6))
def test_residual__places_the_base_and_the_offset(action):
    world = World(1, toy(agents=4, p=0.3), action="residual", observation="full")
    every = np.ones(1, np.bool_)
    world.begin(every, [3])
    world.observe()
    for _ in range(40):
        base, before = world.base_dials()[0], world.totals()["dialed"][0]
        world.step(np.array([action]), every)
        placed = world.totals()["dialed"][0] - before
        assert placed == min(max(base + action - 2, 0), 10)
        world.observe()


# --- hidden answer rate ---------------------------------------------------------------------------


def drifting(**changes):
    rate = {"kind": "drifting", "p_low": 0.2, "p_high": 0.2, "update_s": 10.0} | changes
    return toy(calls={"answer_rate": rate}, episode={"duration_s": 3600.0})


def test_drift__follows_the_season_and_is_held_between_updates():
    toy_ = Toy(drifting(season_amplitude=0.5, season_period_s=1800.0))
    phase = toy_.world.state.est[0, DAY_TURN]
    for t in range(0, 3600, 7):
        toy_.play(t)
        held = t // 10 * 10
        exact = 0.2 * (1 + 0.5 * np.sin(2 * np.pi * (held / 1800.0 + phase)))
        assert toy_.head(P_ANSWER) / 2**32 == pytest.approx(exact, rel=3e-5)


def test_drift__noise_is_stationary_with_the_right_memory():
    """3,000 campaigns; every statistic within its 99.99 % interval."""
    scenario = drifting(p_low=0.1, p_high=0.4, ou_sd=0.25, ou_tau_s=300.0)
    n = 3000
    world = World(n, scenario, observation="none", action="dials")
    every = np.ones(n, np.bool_)
    world.begin(every, list(range(n)))
    first = world.state.est[:, DRIFT_X].copy()
    level = np.log(world.state.est[:, DAY_P0])
    for _ in range(300):
        world.step(np.zeros(n, np.int64), every)
    later = world.state.est[:, DRIFT_X]
    z = stats.norm.ppf(1 - 0.5e-4)
    for x in (first, later):
        assert abs(x.mean()) < z * 0.25 / np.sqrt(n)
        assert abs(x.std() / 0.25 - 1) < z / np.sqrt(2 * n)
    correlation = np.corrcoef(first, later)[0, 1]
    assert abs(np.arctanh(correlation) - np.arctanh(np.exp(-1))) < z / np.sqrt(n - 3)
    share = (level - np.log(0.1)) / np.log(4.0)
    assert stats.kstest(share, "uniform").pvalue > 1e-4
    rate = world.state.head[:, P_ANSWER] / 2**32
    np.testing.assert_allclose(rate, np.exp(level + later), rtol=1e-4)


def test_answer_rate__decides_the_share_of_answers_and_the_endings_their_shares():
    """40,000 dials; chi-square below its 99.99 % point."""
    endings = [
        {"outcome": name, "share": share, "time": constant(1.0)}
        for name, share in (("busy", 0.05), ("invalid", 0.1), ("machine", 0.25), ("no_answer", 0.6))
    ]
    world = World(
        100,
        toy(p=0.3, calls={"unanswered": endings, "max_lines": 400, "max_dials_per_decision": 400}),
        observation="none",
        action="dials",
    )
    every = np.ones(100, np.bool_)
    world.begin(every, list(range(100)))
    world.step(np.full(100, 400), every)
    for _ in range(9):
        world.step(np.zeros(100, np.int64), every)
    totals = {name: value.sum() for name, value in world.totals().items()}
    assert totals["dialed"] == 40_000
    seen = [totals[name] for name in ("answered", "busy", "invalid", "machine", "no_answer")]
    shares = np.array([0.3, 0.035, 0.07, 0.175, 0.42])
    assert stats.chisquare(seen, 40_000 * shares).pvalue > 1e-4


# --- training starts ------------------------------------------------------------------------------


def test_random_start__begins_on_the_grid_with_a_busy_floor_and_plausible_counts():
    n = 400
    world = World(n, "study-real-10", start="random", horizon_s=7200.0)
    world.begin(np.ones(n, np.bool_), list(range(n)))
    head = world.state.head
    length = head[:, END] - head[:, BEGAN]
    assert np.all(head[:, BEGAN] % 1000 == 0)
    assert np.all(head[:, END] <= 28_800_000)
    assert np.all((length >= 3_600_000) & (length <= 7_200_000))
    assert stats.kstest(length / 3_600_000 - 1, "uniform").pvalue > 1e-4
    z = stats.norm.ppf(1 - 0.5e-4)
    busy = head[:, COUNT + TALK].sum() / (10 * n)
    assert abs(busy - 0.85) < z * np.sqrt(0.85 * 0.15 / (10 * n))
    late = head[:, BEGAN] > 7_200_000
    rate = head[late, OPEN_SILENT].sum() / head[late, OPEN_ANSWERED].sum()
    assert rate == pytest.approx(0.03, abs=0.003)
    assert np.all(head[:, OPEN_SILENT] <= head[:, OPEN_ANSWERED])
