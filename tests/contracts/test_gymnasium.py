"""The environments keep Gymnasium's and stable-baselines3's contracts, without one warning."""

import copy
import pickle  # noqa: TID251  (what Gymnasium's own process pools do with an environment)
import subprocess
import sys
import warnings
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from quietdial.envs import ConfigError, PacingEnv, PacingVectorEnv, Scenario, load_scenario
from quietdial.envs.pacing.spec import ACTIONS, OBSERVATIONS
from quietdial.envs.scenario.calls import Leads

ENV_ID = "quietdial.envs:quietdial/Pacing-v1"
REAL_UNITS = ("theta", "ratio", "controller", "blend")
"""Set-points of rules, in the rule's own unit; learners use the other kinds."""


def short(duration_s=20.0, preset="study-real-5"):
    """A preset with a very short day, so that many episodes end."""
    scenario = load_scenario(preset)
    episode = scenario.episode.model_copy(update={"duration_s": duration_s, "close_s": 5.0})
    rule = scenario.rule.model_copy(update={"may_cancel": True})
    return scenario.model_copy(update={"episode": episode, "rule": rule})


def scenario_for(action: str, *parts: Any) -> dict[str, Any]:
    """A world that has what the action needs; the default one has all that the others do."""
    if action == "dials_or_cancel":
        return {"scenario": short(*parts)}
    if action == "residual_choice":
        scenario = short(*parts)
        calls = scenario.calls.model_copy(update={"leads": Leads(auc=0.75, buffer=4)})
        return {"scenario": scenario.model_copy(update={"calls": calls})}
    return {}


def controller_for(action: str) -> dict[str, Any]:
    """What the action `controller` needs besides."""
    return {"controller": "genesys"} if action == "controller" else {}


def make(**arguments: Any) -> gym.Env[Any, Any]:
    scenario = arguments.pop("scenario", "study-real-5")
    arguments |= controller_for(arguments.get("action", ""))
    return gym.make(ENV_ID, scenario=scenario, **arguments)


def play(env: Any, action: Any, steps: int) -> Any:
    """What the last of so many equal steps returns."""
    for _ in range(steps - 1):
        env.step(action)
    return env.step(action)


# --- the checkers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("action", [name for name in ACTIONS if name not in REAL_UNITS])
def test_check_env__passes_without_warnings(action, observation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make(action=action, observation=observation, **scenario_for(action))
        check_env(env.unwrapped)
        sb3_check_env(env.unwrapped)


@pytest.mark.parametrize("action", REAL_UNITS)
def test_check_env__only_advises_another_scale_for_set_points_of_rules(action):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*symmetric and normalized.*")
        env = make(action=action)
        check_env(env.unwrapped)
        sb3_check_env(env.unwrapped)


def test_make__plays_through_all_of_gymnasiums_wrappers_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(ENV_ID, scenario=short())
        assert isinstance(env.unwrapped, PacingEnv)
        for seed in (1, None):
            env.reset(seed=seed)
            for step in range(20):
                *_, terminated, truncated, _ = env.step(env.action_space.sample())
                assert (terminated, truncated) == (False, step == 19)
        env.close()
        env.close()


def test_make_vec__gives_the_native_environment():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make_vec(ENV_ID, num_envs=7, scenario="study-real-5", action="dials")
    assert isinstance(env.unwrapped, PacingVectorEnv)
    assert env.num_envs == 7
    assert env.action_space == gym.spaces.MultiDiscrete([5] * 7)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    env.reset(seed=3)
    observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert (observation.dtype, reward.dtype) == (np.float32, np.float64)
    assert terminated.dtype == truncated.dtype == np.bool_
    assert observation in env.observation_space
    env.close()
    env.close()


def test_make_vec__records_episodes_through_gymnasiums_wrapper():
    env = gym.wrappers.vector.RecordEpisodeStatistics(PacingVectorEnv(3, short()))
    env.reset(seed=1)
    info = play(env, np.zeros(3, np.int64), 20)[4]
    np.testing.assert_array_equal(info["episode"]["l"], 20)


def test_render__shows_the_floor_as_text():
    env = make(render_mode="ansi")
    env.reset(seed=1)
    frame = env.render()
    assert isinstance(frame, str)
    assert "5 idle" in frame
    vector = PacingVectorEnv(2, "study-real-5", render_mode="ansi")
    vector.reset(seed=1)
    frames = vector.render()
    assert frames is not None
    assert frames[0] == frame
    assert make().render_mode is None


# --- scalar, vector and Gymnasium's own vector environment agree bit for bit ----------------------


def assert_same(one, two, where=""):
    """The two values are equal, bit for bit, through dicts, tuples and object arrays."""
    if isinstance(one, dict):
        assert isinstance(two, dict)
        assert sorted(one) == sorted(two), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert two.dtype == object
        assert len(one) == len(two)
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif one is None:
        assert two is None, where
    else:
        one, two = np.asarray(one), np.asarray(two)
        assert one.dtype == two.dtype, (where, one.dtype, two.dtype)
        np.testing.assert_array_equal(one, two, err_msg=where)


@pytest.mark.parametrize("action", ACTIONS)
def test_scalar_and_vector__agree_bit_for_bit(action):
    arguments: dict[str, Any] = {"scenario": short(120.0, "study-real-10"), "action": action}
    arguments |= controller_for(action)
    if action == "residual_choice":
        arguments |= scenario_for(action, 120.0, "study-real-10")
    vector = PacingVectorEnv(3, **arguments)
    scalars = [PacingEnv(**arguments) for _ in range(3)]
    vector.action_space.seed(5)
    observation, info = vector.reset(seed=11)
    reward, truncated = np.zeros(3), np.zeros(3, np.bool_)
    own = [(first[0], 0.0, False, False, first[1]) for first in _resets(scalars)]
    interval_s = vector.scenario.episode.decision_interval_s
    for _ in range(round(120 / interval_s)):
        for i in range(3):
            np.testing.assert_array_equal(observation[i], own[i][0])
            assert (reward[i], truncated[i]) == own[i][1:4:2]
            assert info["cost"][i] == own[i][4]["cost"]
            for group in ("totals", "reward_terms"):
                for name, value in own[i][4][group].items():
                    assert info[group][name][i] == value
        assert not truncated.any()
        actions = vector.action_space.sample()
        observation, reward, _, truncated, info = vector.step(actions)
        own = [env.step(actions[i]) for i, env in enumerate(scalars)]
    assert truncated.all()
    assert all(answer[3] for answer in own)


def _resets(scalars):
    return [env.reset(seed=11 + i) for i, env in enumerate(scalars)]


@pytest.mark.parametrize("start", ["open", "random"])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_native__equals_gymnasiums_vector_environment_bit_for_bit(mode, start):
    """Observations, rewards, flags and every entry of info, over several autoresets."""
    arguments: dict[str, Any] = {"scenario": short(40.0), "start": start}
    arguments["horizon_s"] = 20.0 if start == "random" else None
    native = PacingVectorEnv(4, autoreset_mode=mode, **arguments)
    sync = SyncVectorEnv([lambda: PacingEnv(**arguments)] * 4, autoreset_mode=mode)
    assert native.single_action_space == sync.single_action_space
    assert native.action_space == sync.action_space
    assert native.observation_space == sync.observation_space
    assert native.metadata["autoreset_mode"] == sync.metadata["autoreset_mode"]
    native.action_space.seed(2)
    assert_same(native.reset(seed=[5, 9, 1, 2**40])[1], sync.reset(seed=[5, 9, 1, 2**40])[1])
    ends = np.zeros(4)
    for step in range(150):
        actions = native.action_space.sample()
        one, two = native.step(actions), sync.step(actions)
        for name, a, b in zip(
            ("observation", "reward", "terminated", "truncated", "info"), one, two, strict=True
        ):
            assert_same(a, b, f"step {step}: {name}")
        ends += one[3]
        if mode is AutoresetMode.DISABLED and one[3].any():
            options = {"reset_mask": one[3]}
            one = native.reset(options=dict(options))
            two = sync.reset(options=dict(options))
            assert_same(one[0], two[0], f"reset after step {step}")
            assert_same(one[1], two[1], f"reset after step {step}")
    assert ends.min() >= 3


def test_next_step__ignores_the_action_after_the_end_and_begins_a_new_campaign():
    env = PacingVectorEnv(2, short())
    first, _ = env.reset(seed=1)
    assert play(env, np.array([5, 0]), 20)[3].all()
    observation, reward, terminated, truncated, info = env.step(np.array([5, 5]))
    np.testing.assert_array_equal(reward, 0.0)
    assert not terminated.any()
    assert not truncated.any()
    np.testing.assert_array_equal(info["totals"]["dialed"], 0.0)
    np.testing.assert_array_equal(info["cost"], 0.0)
    assert observation.shape == first.shape


def test_same_step__hands_out_the_last_observation_and_info():
    mode = AutoresetMode.SAME_STEP
    env, disabled = (
        PacingVectorEnv(2, short(), autoreset_mode=m) for m in (mode, AutoresetMode.DISABLED)
    )
    env.reset(seed=1)
    disabled.reset(seed=1)
    assert "final_obs" not in play(env, np.array([4, 2]), 19)[4]
    one, two = env.step(np.array([4, 2])), play(disabled, np.array([4, 2]), 20)
    assert one[3].all()
    np.testing.assert_array_equal(np.stack(list(one[4]["final_obs"])), two[0])
    np.testing.assert_array_equal(one[4]["_final_obs"], [True, True])
    assert_same(one[4]["final_info"], two[4])
    np.testing.assert_array_equal(one[4]["totals"]["dialed"], 0.0)
    assert np.all(one[4]["final_info"]["totals"]["dialed"] > 0)


def test_disabled__refuses_to_step_over_the_end_and_resets_by_mask():
    env = PacingVectorEnv(3, short(), autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=1)
    for _ in range(10):
        env.step(np.full(3, 3))
    before = env.totals()["dialed"]
    mask = np.array([False, True, False])
    env.reset(options={"reset_mask": mask})
    after = env.totals()["dialed"]
    assert after[1] == 0
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    truncated = play(env, np.full(3, 3), 10)[3]
    np.testing.assert_array_equal(truncated, [True, False, True])
    with pytest.raises(ResetNeeded, match="reset_mask"):
        env.step(np.full(3, 3))
    env.reset(options={"reset_mask": truncated})
    env.step(np.full(3, 3))


def test_returned_arrays__are_never_reused():
    env = PacingVectorEnv(2, "study-real-5")
    kept = [env.reset(seed=1)]
    kept += [env.step(np.full(2, 3)) for _ in range(5)]
    arrays = [array for answer in kept for array in answer if isinstance(array, np.ndarray)]
    arrays += [answer[-1]["totals"]["dialed"] for answer in kept]
    for i, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[:i])
    kept[0][0][:] = 7.0
    kept[1][-1]["totals"]["dialed"][:] = -1.0
    assert np.all(env.totals()["dialed"] >= 0)


# --- copies and processes -------------------------------------------------------------------------


def trace(env, steps=60):
    action = np.int64(4) if isinstance(env, PacingEnv) else np.full(env.num_envs, 4)
    answers = [env.step(action) for _ in range(steps)]
    return [(a[0].tobytes(), np.asarray(a[1]).tobytes()) for a in answers]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("kind", [lambda: PacingEnv("study-real-5"), lambda: PacingVectorEnv(3)])
def test_copy__goes_on_as_the_original(kind, copied):
    env = kind()
    env.reset(seed=8)
    trace(env)
    twin = copied(env)
    assert trace(env) == trace(twin)
    env.reset()
    twin.reset()
    assert trace(env) == trace(twin)


def test_process__another_one_plays_the_same_world():
    env = PacingVectorEnv(2, "study-real-5")
    env.reset(seed=4)
    code = (
        "import numpy as np\n"
        "from quietdial.envs import PacingVectorEnv\n"
        "env = PacingVectorEnv(2, 'study-real-5')\n"
        "env.reset(seed=4)\n"
        "answers = [env.step(np.full(2, 4)) for _ in range(60)]\n"
        "print(''.join((a[0].tobytes() + a[1].tobytes()).hex() for a in answers))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = trace(env)
    assert out.stdout.strip() == "".join((a + b).hex() for a, b in expected)


def test_async_vector_env__spawns_the_scalar_environment():
    arguments: dict[str, Any] = {"scenario": short()}
    pool = AsyncVectorEnv(
        [lambda: PacingEnv(**arguments)] * 2, context="spawn", shared_memory=False
    )
    try:
        native = PacingVectorEnv(2, **arguments)
        np.testing.assert_array_equal(pool.reset(seed=3)[0], native.reset(seed=3)[0])
        for _ in range(25):
            one, two = pool.step(np.array([3, 4])), native.step(np.array([3, 4]))
            for a, b in zip(one[:4], two[:4], strict=True):
                np.testing.assert_array_equal(a, b)
    finally:
        pool.close()


# --- misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PacingEnv, PacingVectorEnv])
def test_step__before_reset_is_refused(kind):
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        kind(scenario="study-real-5").step(0)


def test_step__after_the_end_is_refused():
    env = PacingEnv(short())
    env.reset(seed=1)
    for _ in range(20):
        env.step(0)
    with pytest.raises(ResetNeeded, match="ended"):
        env.step(0)
    env.reset()
    env.step(0)


@pytest.mark.parametrize("action", [-1, 6, 2.5, np.array([1]), None, "2"])
def test_step__refuses_an_action_outside_the_space(action):
    env = PacingEnv("study-real-5")
    env.reset(seed=1)
    with pytest.raises(InvalidAction, match=r"must lie in Discrete\(6\)"):
        env.step(action)


@pytest.mark.parametrize(
    "actions", [[0, 6], [-1, 0], [0.5, 1.0], [np.nan, 1.0], [0], [[0], [0]], 3, ["1", "2"]]
)
def test_vector_step__refuses_actions_outside_the_space(actions):
    env = PacingVectorEnv(2, "study-real-5")
    env.reset(seed=1)
    with pytest.raises(InvalidAction, match="action"):
        env.step(np.array(actions))


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5])
def test_vector_step__refuses_a_theta_outside_the_space(value):
    env = PacingVectorEnv(2, "study-real-5", action="theta")
    env.reset(seed=1)
    env.step(np.full((2, 1), 0.5, np.float32))
    with pytest.raises(InvalidAction, match="every action must lie in Box"):
        env.step(np.array([[0.5], [value]], np.float32))


BAD = [
    ({"scenario": "italy-51"}, "unknown scenario 'italy-51'; use a path .* or one of: .*italy-50"),
    ({"base_theta": float("nan")}, r"base_theta = nan must lie in \[0, 1\]"),
    ({"base_theta": 1.5}, r"base_theta = 1.5 must lie in \[0, 1\]"),
    ({"silent_penalty": -1.0}, "silent_penalty = -1.0 must be a finite number >= 0"),
    ({"silent_penalty": float("inf")}, "silent_penalty = inf must be a finite number >= 0"),
    ({"silent_penalty": "150"}, "silent_penalty = '150' must be a finite number >= 0"),
    ({"base_theta": None}, r"base_theta = None must lie in \[0, 1\]"),
    ({"start": "noon"}, "start = 'noon' must be 'open' or 'random'"),
    ({"horizon_s": 0.0}, r"horizon_s = 0.0 must lie between the decision interval \(1.0 s\)"),
    ({"horizon_s": 1e9}, r"horizon_s = 1000000000.0 must lie between .* \(28800.0 s\)"),
    ({"horizon_s": float("nan")}, "horizon_s = nan must lie between"),
    ({"observation": "all"}, "unknown observation 'all'; use one of: full, counters"),
    ({"action": "best"}, "unknown action 'best'; use one of: residual, dials"),
    ({"render_mode": "film"}, "render_mode = 'film' must be one of ansi, human, rgb_array or None"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
@pytest.mark.parametrize("kind", [PacingEnv, PacingVectorEnv])
def test_bad_arguments__give_one_clear_line(kind, arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        kind(**({"scenario": "study-real-5"} | arguments))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_envs", [0, -3, 2.0, True, None, "4"])
def test_bad_num_envs__gives_one_clear_line(num_envs):
    with pytest.raises(ConfigError, match=f"num_envs = {num_envs!r} must be a whole number"):
        PacingVectorEnv(num_envs, "study-real-5")


@pytest.mark.parametrize("mode", ["NextStep", 1, None])
def test_bad_autoreset_mode__gives_one_clear_line(mode):
    with pytest.raises(ConfigError, match=r"autoreset_mode = .* must be an AutoresetMode member"):
        PacingVectorEnv(1, "study-real-5", autoreset_mode=mode)


@pytest.mark.parametrize(
    "mask", [[True], np.zeros(2, np.bool_), np.array([1, 0]), np.ones(3, np.bool_), "all"]
)
def test_bad_reset_mask__gives_one_clear_line(mask):
    env = PacingVectorEnv(2, "study-real-5")
    env.reset(seed=1)
    with pytest.raises(ConfigError, match=r"reset_mask must be a bool array of shape \(2,\)"):
        env.reset(options={"reset_mask": mask})


def test_bad_reset__gives_one_clear_line():
    with pytest.raises(ConfigError, match=r"reset options \['speed'\] are not known"):
        PacingEnv("study-real-5").reset(options={"speed": 2})
    env = PacingVectorEnv(2, "study-real-5")
    with pytest.raises(ConfigError, match=r"reset options \['speed'\] are not known"):
        env.reset(options={"speed": 2})
    with pytest.raises(ConfigError, match="seed has 3 entries but there are 2 rows"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ConfigError, match=r"seed = \[-1, 2\] must hold whole numbers >= 0"):
        env.reset(seed=[-1, 2])


@pytest.mark.parametrize("interval_s", [0.25, 1.0, 5.0])
def test_reward__prices_a_silent_call_in_agent_seconds_at_any_interval(interval_s):
    """Reward x interval is agent-seconds per agent: a silent call always costs 150 / agents."""
    data = load_scenario("study-stat-5").model_dump()
    data["episode"] |= {"decision_interval_s": interval_s, "duration_s": 1200.0}
    envs = PacingVectorEnv(8, Scenario.model_validate(data), action="dials")
    envs.reset(seed=1)
    silent = price = 0.0
    for _ in range(int(600 / interval_s)):
        _, _, _, _, info = envs.step(np.full(8, 2))
        silent += info["cost"].sum()
        price -= info["reward_terms"]["silent"].sum() * interval_s
    assert silent > 0
    assert price == pytest.approx(150.0 * silent / 5)


def test_reset__wants_every_row_before_some_and_a_seed_that_is_one():
    envs = PacingVectorEnv(3, "study-stat-5")
    with pytest.raises(ResetNeeded, match="every row"):
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    with pytest.raises(ConfigError, match=r"seed = 1\.5"):
        envs.reset(seed=cast("int", 1.5))
