"""Nothing is lost and nothing counted twice, whatever the policy does: `envs.testing` at work."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from quietdial.envs import PacingEnv, PacingVectorEnv, load_scenario
from quietdial.envs.laws import UniformLaw
from quietdial.envs.pacing.spec import ACTIONS
from quietdial.envs.pacing.state import ANSWERED, COUNT, DIALED, IDLE, TALK
from quietdial.envs.scenario.calls import Leads
from quietdial.envs.testing import ContractError, check_determinism, check_episode

PRESETS = (
    "italy-50",
    "study-real-5",
    "study-real-10",
    "study-shift-10",
    "study-stat-5",
    "markov-5",
    "markov-20",
)


def short(preset, duration_s=120.0, **changes):
    """A preset with a short day that closes early enough to drain, and other changes."""
    scenario = load_scenario(preset)
    episode = {"duration_s": duration_s, "close_s": 40.0} | changes.pop("episode", {})
    calls = scenario.calls.model_copy(update=changes.pop("calls", {}))
    rule = scenario.rule.model_copy(update=changes.pop("rule", {}))
    return scenario.model_copy(
        update={
            "episode": scenario.episode.model_copy(update=episode),
            "calls": calls,
            "rule": rule,
        }
    )


@st.composite
def worlds(draw):
    """A scenario, an action kind and a seed."""
    calls = {}
    if draw(st.booleans()):
        calls["patience"] = UniformLaw(low_s=0.0, high_s=draw(st.sampled_from([2.0, 6.0])))
    if draw(st.booleans()):
        calls["max_lines"] = draw(st.integers(1, 40))
    rule = {"wait_limit_s": draw(st.sampled_from([0.0, 0.5, 3.0, 10.0]))}
    episode = {"decision_interval_s": draw(st.sampled_from([0.5, 1.0, 2.0, 5.0]))}
    if draw(st.booleans()):
        episode["controller_period_s"] = draw(st.sampled_from([0.25, 0.75, 2.5]))
    episode["controller_on_release"] = draw(st.booleans())
    actions = sorted(
        set(ACTIONS) - {"dials_or_cancel"}
    )  # no shipped Italian rule lets calls be cancelled
    action = draw(st.sampled_from(actions))
    if action == "residual_choice" or draw(st.integers(0, 3)) == 0:
        calls["leads"] = Leads(
            auc=draw(st.sampled_from([0.6, 0.85])), buffer=draw(st.integers(1, 5))
        )
    scenario = short(draw(st.sampled_from(PRESETS)), calls=calls, rule=rule, episode=episode)
    return scenario, action, draw(st.integers(0, 2**32))


@settings(max_examples=60)
@given(worlds())
def test_check_episode__holds_in_random_worlds(world):
    scenario, action, seed = world
    controller = "genesys" if action == "controller" else None
    env = PacingVectorEnv(4, scenario, action=action, observation="full", controller=controller)
    episode = check_episode(env, seed=seed)
    steps = round(scenario.episode.duration_s / env.scenario.episode.decision_interval_s)
    np.testing.assert_array_equal(episode.steps, steps)


@settings(max_examples=25)
@given(
    bursts=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 4)), min_size=4, max_size=40),
    preset=st.sampled_from(["study-real-5", "markov-5", "study-stat-5"]),
)
def test_check_episode__holds_for_bursts_of_dials(bursts, preset):
    """Hypothesis chooses the action sequence itself: runs of equal dial numbers."""
    plan = itertools.cycle(dials for length, dials in bursts for _ in range(length))

    def policy(observation):
        return np.int64(next(plan))

    check_episode(PacingEnv(short(preset), action="dials"), policy, seed=1)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_check_episode__holds_in_training_mode(mode):
    env = PacingVectorEnv(8, "study-real-10", start="random", horizon_s=600.0, autoreset_mode=mode)
    episode = check_episode(env, seed=5)
    assert len(set(episode.steps.tolist())) > 1, "training episodes differ in length"
    assert episode.steps.min() >= 300
    assert episode.steps.max() <= 600


def test_check_episode__whole_day_drains():
    day = short("study-real-5", 28_800.0, episode={"decision_interval_s": 2.0})
    env = PacingVectorEnv(16, day, action="threshold", observation="none")
    episode = check_episode(env, lambda obs: np.full(16, 5), seed=77)
    t = episode.totals
    np.testing.assert_array_equal(
        t["dialed"], t["answered"] + t["machine"] + t["busy"] + t["no_answer"] + t["invalid"]
    )
    np.testing.assert_array_equal(t["answered"], t["connected"] + t["silent"])
    spent = t["available_s"] + t["break_s"]
    np.testing.assert_allclose(spent, 5 * 28_800.0, rtol=1e-12)
    assert np.all(t["connected"] > 100)
    np.testing.assert_array_equal(episode.cost, t["silent"])


@pytest.mark.parametrize("preset", ["study-real-10", "markov-5"])
def test_check_determinism__holds(preset):
    check_determinism(lambda: PacingEnv(preset), seed=4)
    check_determinism(lambda: PacingVectorEnv(3, preset), seed=4)


# --- the checks themselves find planted bugs ------------------------------------------------------


class _Planted(PacingEnv):
    """Does something wrong after every 50th step."""

    count = 0
    wrong: Callable[[list[Any], PacingEnv], None]

    def step(self, action) -> Any:
        self.count += 1
        answer = list(super().step(action))
        if self.count % 50 == 0:
            self.wrong(answer, self)
        return tuple(answer)


def _lose_agent(answer, env):
    head = env.world.state.head
    head[0, COUNT + (IDLE if head[0, COUNT + IDLE] else TALK)] -= 1


def _lose_dial(answer, env):
    env.world.state.head[0, DIALED] += 1
    answer[4]["totals"]["dialed"] += 1


def _double_answer(answer, env):
    env.world.state.head[0, ANSWERED] += 1
    answer[4]["totals"]["answered"] += 1


def _wrong_reward(answer, env):
    answer[1] -= 1e-9


def _negative_cost(answer, env):
    answer[4]["cost"] = -1.0


def _outside(answer, env):
    answer[0][0] = 7.0


def _nan(answer, env):
    answer[0][3] = np.nan


def _double_precision(answer, env):
    answer[0] = answer[0].astype(np.float64)


def _terminate(answer, env):
    answer[2] = True


def _truncate(answer, env):
    answer[3] = True


def _falling_total(answer, env):
    answer[4]["totals"]["talk_s"] -= 1000.0


def _lost_time(answer, env):
    answer[4]["totals"]["idle_s"] += 0.5
    answer[4]["totals"]["available_s"] += 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        _lose_agent,
        _lose_dial,
        _double_answer,
        _wrong_reward,
        _negative_cost,
        _outside,
        _nan,
        _double_precision,
        _terminate,
        _truncate,
        _falling_total,
        _lost_time,
    ],
)
def test_check_episode__finds_planted_bug(wrong):
    env = _Planted(short("study-real-5"))
    env.wrong = wrong
    with pytest.raises(ContractError, match=r"step \d+"):
        check_episode(env, seed=1)


def test_check_determinism__finds_ignored_seed():
    class Deaf(PacingEnv):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=1, options=options)

    class Drifting(PacingEnv):
        made = 0

        def reset(self, *, seed=None, options=None):
            Drifting.made += 1
            return super().reset(seed=Drifting.made, options=options)

    with pytest.raises(ContractError, match="give the same numbers"):
        check_determinism(lambda: Deaf(short("study-real-5")))
    with pytest.raises(ContractError, match="gives other numbers"):
        check_determinism(lambda: Drifting(short("study-real-5")))
