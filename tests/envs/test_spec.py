"""One table describes the border of the environment; spaces, docstrings and code follow it."""

import inspect

import numpy as np
import pytest
from gymnasium import spaces

from quietdial.envs import ConfigError, PacingEnv, PacingVectorEnv, load_scenario
from quietdial.envs.pacing import control, spec
from quietdial.envs.pacing.features import SET_CODES
from quietdial.envs.pacing.twin import observe_twin
from quietdial.envs.scenario import ActionName, ObservationName


@pytest.mark.parametrize("name", spec.OBSERVATIONS)
def test_fields__are_sound(name):
    fields = spec.observation_fields(name)
    names = [field.name for field in fields]
    assert len(set(names)) == len(names)
    for field in fields:
        assert field.name.isidentifier()
        assert field.low < field.high
        assert np.isfinite([field.low, field.high]).all()
        assert field.unit
        assert field.meaning
        assert "|" not in "".join((field.name, field.unit)), "it would break the Markdown table"


@pytest.mark.parametrize("name", spec.OBSERVATIONS)
def test_observation_space__matches_the_fields(name):
    fields = spec.observation_fields(name)
    space = spec.observation_space(name)
    assert space.shape == (len(fields),)
    assert space.dtype == np.float32
    np.testing.assert_array_equal(space.low, [f.low for f in fields])
    np.testing.assert_array_equal(space.high, [f.high for f in fields])
    env = PacingVectorEnv(2, "study-real-5", observation=name)
    assert env.single_observation_space == space
    assert env.observation_space.shape == (2, len(fields))
    assert env.observation_spec == fields
    assert env.reset(seed=1)[0].shape == (2, len(fields))


def test_sets__are_those_of_the_scenario_and_the_compiled_code():
    assert set(spec.OBSERVATIONS) == set(SET_CODES) == set(ObservationName.__args__)
    assert set(spec.ACTIONS) == set(ActionName.__args__)
    for name, code in SET_CODES.items():
        world = PacingVectorEnv(1, "study-real-5", observation=name)
        world.reset(seed=1)
        twin = observe_twin(world.world.state, world.world.params, code, True)
        assert twin.shape == (1, len(spec.observation_fields(name)))


def test_counters__hold_only_what_a_dialers_tables_show():
    """The `counters` set is the beginning of `full`, before everything that needs ages."""
    counters, full = spec.OBSERVATIONS["counters"], spec.OBSERVATIONS["full"]
    assert counters[:-1] == full[: len(counters) - 1]
    assert counters[-1] == full[-1] == spec.BASE_FIELD
    assert not {"releases_0", "answers_0", "risk"} & {field.name for field in counters}


def test_docstring__contains_every_field_action_term_entry_and_total():
    text = inspect.getdoc(PacingEnv)
    assert text is not None
    rows = {
        tuple(cell.strip() for cell in line.strip("| ").split("|")) for line in text.split("\n")
    }
    for fields in spec.OBSERVATIONS.values():
        for i, f in enumerate(fields):
            assert (str(i), f.name, f.unit, f"{f.low:g}", f"{f.high:g}", f.meaning) in rows
    for action in spec.ACTIONS.values():
        assert (action.name, action.meaning) in rows
    for entry in (*spec.REWARD_TERMS, *spec.INFO, *spec.TOTALS):
        assert tuple(entry) in rows
    for title in ("Description", "Observation Space", "Action Space", "Rewards", "Info", "Cost"):
        assert f"## {title}" in text
    for title in ("Starting State", "Episode End", "Arguments", "Version History"):
        assert f"## {title}" in text


def test_info__has_exactly_the_entries_of_the_table():
    env = PacingEnv("study-real-5")
    for info in (env.reset(seed=1)[1], env.step(1)[4]):
        assert list(info) == [entry.name for entry in spec.INFO]
        assert list(info["reward_terms"]) == [entry.name for entry in spec.REWARD_TERMS]
        assert list(info["totals"]) == [entry.name for entry in spec.TOTALS]


@pytest.mark.parametrize(
    ("action", "space"),
    [
        ("residual", spaces.Discrete(6)),
        ("dials", spaces.Discrete(7)),  # ceil(.4 x 10) + 2 = 6 calls at most
        ("threshold", spaces.Discrete(13)),
        ("vicidial_level", spaces.Discrete(13)),
        ("theta", spaces.Box(0.0, 1.0, (1,), np.float32)),
        ("ratio", spaces.Box(0.0, 20.0, (1,), np.float32)),
        ("progressive", spaces.Discrete(1)),
    ],
)
def test_action_space__is_as_documented(action, space):
    scenario = load_scenario("study-real-10")
    assert spec.action_space(action, scenario) == space
    assert PacingEnv(scenario, action=action).action_space == space
    assert str(space).split("(")[0] in spec.ACTIONS[action].meaning


def test_thetas__rise():
    assert list(control.THETAS) == sorted(set(control.THETAS))
    assert 0.02 in control.THETAS


@pytest.mark.parametrize(
    ("what", "known", "make"),
    [
        ("observation", spec.OBSERVATIONS, lambda: PacingEnv("study-real-5", observation="fancy")),
        ("action", spec.ACTIONS, lambda: PacingEnv("study-real-5", action="fancy")),
    ],
)
def test_unknown_names__are_refused_with_the_known_ones(what, known, make):
    with pytest.raises(ConfigError, match=f"unknown {what} 'fancy'; use one of: ") as caught:
        make()
    assert all(name in str(caught.value) for name in known)
