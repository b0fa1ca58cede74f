"""One seed, one world: nothing else decides what happens, not even the policy."""

import numpy as np
import pytest

from quietdial.envs import PacingEnv, PacingVectorEnv, load_scenario
from quietdial.envs.pacing.state import (
    AGENT_NUMBER,
    AGENT_SINCE,
    AGENT_STATE,
    CALL_NUMBER,
    CALL_OUTCOME,
    COUNT,
    DIALED,
    HEAP,
    IDLE,
    PERSON,
    TALK,
    TALK_FACTOR,
    WRAP,
)
from quietdial.envs.pacing.timers import AGENT, ENDING, PICKUP
from quietdial.envs.pacing.world import World


def follow(world, actions, steps):
    """Fate of every dial and length of every conversation of campaign 0, by their numbers.

    Fates are read from the timers: (outcome, milliseconds from the dial), so a dial that nobody
    has heard of yet counts too.
    """
    fates, talks, wraps = {}, {}, {}
    every = np.ones(world.n_campaigns, np.bool_)
    known = 0
    for step in range(steps):
        placed_at = step * 1000
        world.step(np.full(world.n_campaigns, actions[step]), every)
        s = world.state
        timers = s.heap[0, : s.head[0, HEAP]]
        for timer in timers:
            kind, entity, due = (timer >> 20) & 0xF, timer & 0xFFFFF, timer >> 24
            if kind in (PICKUP, ENDING):
                number = int(s.call[0, entity, CALL_NUMBER])
                if number >= known:
                    fates[number] = (int(s.call[0, entity, CALL_OUTCOME]), int(due - placed_at))
            elif kind == AGENT:
                row = s.agent[0, entity]
                lengths = {TALK: talks, WRAP: wraps}.get(int(row[AGENT_STATE]), {})
                lengths[int(row[AGENT_NUMBER])] = int(due - row[AGENT_SINCE])
        known = int(s.head[0, DIALED])
    return fates, talks, wraps


@pytest.fixture(scope="module")
def two_policies():
    """The same seed under a careful and under a reckless policy, constant answer rate."""
    seen = []
    rng = np.random.default_rng(0)
    for actions in (rng.integers(0, 2, 1500), rng.integers(0, 7, 1500)):
        world = World(1, "study-stat-10", observation="none", action="dials")
        world.begin(np.ones(1, np.bool_), [42])
        seen.append(follow(world, actions, 1500))
    return seen


@pytest.mark.parametrize(("what", "enough"), [(0, 500), (1, 80), (2, 70)])
def test_fate__of_the_kth_dial_and_conversation_does_not_depend_on_the_policy(
    two_policies, what, enough
):
    """Outcome and time of dials, length of conversations, length of wrap-ups."""
    careful, reckless = two_policies[0][what], two_policies[1][what]
    common = sorted(set(careful) & set(reckless))
    assert len(common) > enough
    assert [careful[k] for k in common] == [reckless[k] for k in common]


def test_fate__the_two_policies_are_really_different(two_policies):
    assert len(two_policies[1][0]) > 2 * len(two_policies[0][0])
    outcomes = {outcome for outcome, _ in two_policies[1][0].values()}
    assert len(outcomes) == 5
    answered = [ms for outcome, ms in two_policies[1][0].values() if outcome == PERSON]
    assert len(set(answered)) > 0.9 * len(answered)


def play(num_envs, seed, steps=240, preset="study-real-10", **arguments):
    """Everything that comes back, by row."""
    env = PacingVectorEnv(num_envs, preset, **arguments)
    observation, info = env.reset(seed=seed)
    rows = [[] for _ in range(num_envs)]
    for step in range(steps):
        for row in range(num_envs):
            totals = [info["totals"][name][row] for name in env.totals()]
            rows[row].append((observation[row].tobytes(), *totals, info["cost"][row]))
        actions = np.full(num_envs, (step * 7) % 5)
        observation, reward, _, truncated, info = env.step(actions)
        for row in range(num_envs):
            rows[row].append((reward[row], truncated[row]))
    return rows


@pytest.fixture(scope="module")
def lanes():
    return play(32, 1000)


@pytest.mark.parametrize("num_envs", [1, 2, 8])
def test_world__is_the_same_for_any_number_of_campaigns(lanes, num_envs):
    for first in (0, 32 - num_envs):
        rows = play(num_envs, 1000 + first)
        for row in range(num_envs):
            assert rows[row] == lanes[first + row], f"lane {first + row}"


def test_world__is_the_same_again_and_in_any_order(lanes):
    assert play(32, 1000) == lanes
    seeds = [1031 - i for i in range(32)]
    assert play(32, seeds) == lanes[::-1]


def test_world__differs_between_seeds_in_every_lane(lanes):
    for row, other in enumerate(play(32, 5000)):
        assert other != lanes[row]
    assert len({str(row) for row in lanes}) == 32


def test_world__of_a_used_environment_is_the_fresh_one(lanes):
    env = PacingVectorEnv(4, "study-real-10")
    env.reset(seed=77)
    for _ in range(50):
        env.step(np.full(4, 5))
    first, _ = env.reset(seed=1000)
    assert [row.tobytes() for row in first] == [lanes[i][0][0] for i in range(4)]


def test_next_episodes__are_new_worlds_that_the_seed_fixes():
    def days(seed):
        env = PacingEnv("study-real-5")
        seen = []
        for day in range(3):
            env.reset(seed=seed if day == 0 else None)
            answers = [env.step(4) for _ in range(120)]
            seen.append([answer[1] for answer in answers])
        return seen

    one = days(9)
    assert one == days(9)
    assert one[0] != one[1] != one[2]
    assert one != days(10)


def test_random_start__is_fixed_by_the_seed(lanes):
    arguments = {"start": "random", "horizon_s": 600.0, "steps": 400}
    assert play(8, 3, **arguments) == play(8, 3, **arguments)
    assert play(2, 5, **arguments) == play(8, 3, **arguments)[2:4]


# --- the hidden truth stays hidden ----------------------------------------------------------------


def hidden(observation, **floor):
    scenario = load_scenario("study-stat-10")
    changed = scenario.floor.model_copy(update=floor)
    return PacingVectorEnv(
        1, scenario.model_copy(update={"floor": changed}), observation=observation, action="dials"
    )


@pytest.mark.parametrize("observation", ["full", "counters", "markov"])
def test_observation__shows_the_hidden_talk_factor_only_by_what_happens(observation):
    """Two worlds that differ in the day's talk factor look the same until an agent hangs up."""
    plain, scaled = hidden(observation), hidden(observation, talk_day_sd=0.5)
    a, _ = plain.reset(seed=8)
    b, _ = scaled.reset(seed=8)
    factor = scaled.world.state.head[0, TALK_FACTOR] / 2**20
    assert abs(factor - 1) > 0.05
    same = 0
    for _ in range(600):
        floors = [e.world.state.agent[0, :, AGENT_STATE].tolist() for e in (plain, scaled)]
        if floors[0] != floors[1]:
            break
        np.testing.assert_array_equal(a, b)
        same += int(plain.world.state.head[0, COUNT + IDLE] < 10)
        a = plain.step(np.array([1]))[0]
        b = scaled.step(np.array([1]))[0]
    else:
        pytest.fail("the worlds never came apart")
    assert same >= 5, "some conversations went on while the two looked the same"


def test_observation__shows_the_hidden_answer_rate_only_by_what_happens():
    """Same: two levels of the day's answer rate, until the first call ends differently."""
    scenario = load_scenario("study-real-10")
    envs = []
    for p in (0.2, 0.3):
        rate = scenario.calls.answer_rate.model_copy(update={"p_low": p, "p_high": p})
        calls = scenario.calls.model_copy(update={"answer_rate": rate})
        envs.append(PacingVectorEnv(1, scenario.model_copy(update={"calls": calls})))
    seen = [env.reset(seed=2)[0] for env in envs]
    for step in range(200):
        totals = [env.totals() for env in envs]
        names = ("answered", "machine", "busy", "no_answer", "invalid")
        if any(totals[0][name] != totals[1][name] for name in names):
            assert step >= 3
            return
        np.testing.assert_array_equal(seen[0], seen[1])
        seen = [env.step(np.array([2]))[0] for env in envs]
    pytest.fail("the worlds never came apart")
