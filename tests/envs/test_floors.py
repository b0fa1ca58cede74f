"""Many floors in one batch: the same bits as each floor alone, one batch outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

from quietdial.envs import ConfigError, PacingVectorEnv, load_scenario
from quietdial.envs.pacing.floors import FloorsVectorEnv

FLOORS = ("study-real-10", "machines-50", "study-real-25")  # the second needs the full kernel
OPTIONS: dict[str, Any] = {
    "observation": "full",
    "action": "residual",
    "silent_penalty": 0.0,
    "start": "random",
    "horizon_s": 60.0,
}


def alone(rows: list[tuple[str, int]], **options: Any) -> list[PacingVectorEnv]:
    return [
        PacingVectorEnv(n, name, autoreset_mode=AutoresetMode.SAME_STEP, **(OPTIONS | options))
        for name, n in rows
    ]


def test_the_rows_are_those_of_each_floor_alone() -> None:
    floors = FloorsVectorEnv(8, FLOORS, **OPTIONS)
    parts = alone([("study-real-10", 3), ("machines-50", 3), ("study-real-25", 2)])
    obs, _ = floors.reset(seed=100)
    each = [part.reset(seed=100 + first)[0] for part, first in zip(parts, (0, 3, 6), strict=True)]
    np.testing.assert_array_equal(obs, np.concatenate(each))
    rng = np.random.default_rng(1)
    ended = 0
    info: dict[str, Any] = {}
    for _ in range(130):
        actions = rng.integers(6, size=8)
        obs, reward, terminated, truncated, info = floors.step(actions)
        found: list[tuple[Any, ...]] = [
            part.step(actions[rows]) for part, rows in zip(parts, floors.rows, strict=True)
        ]
        for number, value in enumerate((obs, reward, terminated, truncated)):
            np.testing.assert_array_equal(value, np.concatenate([f[number] for f in found]))
        for name in ("cost", "answered", "harm", "_cost"):
            np.testing.assert_array_equal(info[name], np.concatenate([f[4][name] for f in found]))
        for name in ("idle", "silent"):
            expected = np.concatenate([f[4]["reward_terms"][name] for f in found])
            np.testing.assert_array_equal(info["reward_terms"][name], expected)
        for row in np.flatnonzero(truncated):
            group = next(i for i, rows in enumerate(floors.rows) if rows.start <= row < rows.stop)
            at, its = row - floors.rows[group].start, found[group][4]
            np.testing.assert_array_equal(info["final_obs"][row], its["final_obs"][at])
            for name in ("cost", "answered"):
                assert info["final_info"][name][row] == its["final_info"][name][at]
            for name in ("answered", "talk_s"):
                assert (
                    info["final_info"]["totals"][name][row] == its["final_info"]["totals"][name][at]
                )
            ended += 1
        if truncated.any():
            np.testing.assert_array_equal(info["_final_obs"], truncated)
            np.testing.assert_array_equal(info["_final_info"], truncated)
            assert all(info["final_obs"][row] is None for row in np.flatnonzero(~truncated))
            assert not info["final_info"]["totals"]["dialed"][~truncated].any()
        else:
            assert "final_obs" not in info
    assert ended >= 8
    totals = floors.totals()
    for name, value in totals.items():
        np.testing.assert_array_equal(value, np.concatenate([p.totals()[name] for p in parts]))
        np.testing.assert_array_equal(info["totals"][name], value)
    assert "talk_s" in totals
    assert "machine_s" not in totals  # only the full kernel counts it


def test_worlds_do_not_depend_on_the_grouping() -> None:
    """A floor listed twice plays what it plays as one group."""
    twice = FloorsVectorEnv(4, ["study-real-10"] * 2, **OPTIONS)
    once = FloorsVectorEnv(4, ["study-real-10"], **OPTIONS)
    actions = np.array([2, 3, 2, 4])
    for env in (twice, once):
        env.reset(seed=7)
    for _ in range(80):
        a, b = twice.step(actions), once.step(actions)
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


def test_agents_and_caps_stand_by_row() -> None:
    canada = load_scenario("canada-25")
    floors = FloorsVectorEnv(5, ["study-real-10", canada], observation="full", action="residual")
    np.testing.assert_array_equal(floors.n_agents_by_row, [10, 10, 10, 25, 25])
    np.testing.assert_array_equal(floors.caps_by_row, [0.03] * 3 + [canada.rule.cap] * 2)
    assert canada.rule.cap != 0.03
    assert floors.num_envs == 5
    assert floors.observation_space.shape == (5, len(floors.observation_spec))
    assert (
        floors.single_action_space
        == PacingVectorEnv(1, canada, action="residual").single_action_space
    )
    assert floors.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    floors.reset(seed=1)
    assert floors.action_masks().shape == (5, 6)
    assert floors.action_masks().all()


def test_seeds_and_partial_resets() -> None:
    floors = FloorsVectorEnv(4, ["study-real-10", "study-real-25"], **OPTIONS)
    with pytest.raises(ResetNeeded):
        floors.reset(options={"reset_mask": np.array([True, False, False, False])})
    by_number = floors.reset(seed=11)[0]
    np.testing.assert_array_equal(by_number, floors.reset(seed=[11, 12, 13, 14])[0])
    again = floors.reset()[0]
    assert not np.array_equal(by_number, again)  # the next campaigns of the same seeds
    mask = np.array([False, False, True, False])
    obs, info = floors.reset(seed=[None, None, 13, None], options={"reset_mask": mask})
    np.testing.assert_array_equal(obs[2], by_number[2])
    np.testing.assert_array_equal(obs[[0, 1, 3]], again[[0, 1, 3]])
    np.testing.assert_array_equal(info["_cost"], mask)
    unseeded = [FloorsVectorEnv(2, FLOORS[:1], **OPTIONS).reset()[0] for _ in range(2)]
    assert not data_equivalence(unseeded[0], unseeded[1])


def test_a_base_threshold_for_each_floor() -> None:
    options: dict[str, Any] = OPTIONS | {"base_theta": (0.005, 0.2)}
    floors = FloorsVectorEnv(2, ["study-real-10"] * 2, **options)
    low, high = (
        alone([("study-real-10", 1)], base_theta=0.005),
        alone([("study-real-10", 1)], base_theta=0.2),
    )
    floors.reset(seed=3)
    low[0].reset(seed=3)
    high[0].reset(seed=4)
    for _ in range(40):
        obs = floors.step(np.array([2, 2]))[0]
        np.testing.assert_array_equal(obs[0], low[0].step(np.array([2]))[0][0])
        np.testing.assert_array_equal(obs[1], high[0].step(np.array([2]))[0][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenarios": []}, "at least one scenario"),
        ({"scenarios": "study-real-10"}, "must be a list"),
        ({"num_envs": 1}, "num_envs = 1 must be"),
        ({"action": "dials"}, "action spaces differ"),
        ({"base_theta": [0.02]}, "base_theta has 1 entries"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "num_envs": 4,
        "scenarios": ["study-real-10", "study-real-25"],
        **OPTIONS,
    }
    with pytest.raises(ConfigError, match=message):
        FloorsVectorEnv(**(arguments | change))


def test_other_decision_intervals_are_refused() -> None:
    scenario = load_scenario("study-real-10")
    episode = scenario.episode.model_copy(update={"decision_interval_s": 2.0})
    slower = scenario.model_copy(update={"episode": episode})
    with pytest.raises(ConfigError, match="decision intervals"):
        FloorsVectorEnv(2, [scenario, slower], **OPTIONS)


def test_bad_actions_move_no_row() -> None:
    floors = FloorsVectorEnv(3, FLOORS, **OPTIONS)
    with pytest.raises(ResetNeeded):
        floors.step(np.full(3, 2))
    floors.reset(seed=1)
    before = floors.totals()["available_s"].copy()
    for actions in (np.full(4, 2), np.array([2, 2, 6]), np.array([2.0, 2.0, 2.0])):
        with pytest.raises(InvalidAction):
            floors.step(actions)
    np.testing.assert_array_equal(floors.totals()["available_s"], before)
    with pytest.raises(ConfigError, match="seed has 2 entries"):
        floors.reset(seed=[1, 2])
    with pytest.raises(ConfigError, match="reset options"):
        floors.reset(options={"rows": 1})
