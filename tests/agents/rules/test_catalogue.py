"""Who plays in the league, and what every rule says of itself."""

import copy
import inspect
import re
from typing import Any

import numpy as np
import pytest

import quietdial.agents.rules as rules
from quietdial.agents.bundle.describe import rule_json
from quietdial.agents.bundle.strict import canonical, check_schema, read_canonical
from quietdial.agents.policy import Policy
from quietdial.agents.rules.base import ControllerRule, Rule
from quietdial.agents.rules.catalogue import catalogue
from quietdial.agents.rules.page import COMMAND, page
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.controllers.plug import MODULES, controller_of, plug
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.evaluate import make_world

ENTRIES = catalogue()
BY_NAME = pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])


def classes() -> set[type]:
    """Every rule that the package offers."""
    offered = [getattr(rules, name) for name in rules.__all__]
    return {one for one in offered if inspect.isclass(one)} - {ControllerRule}


def test_names__differ_and_the_reference_is_there():
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)
    assert "marginal" in names


def test_every_rule__plays_in_the_league():
    playing = {type(entry.rule) for entry in ENTRIES}
    assert classes() == playing


def test_every_controller__has_a_rule():
    played = {
        one.controller for one in classes() if issubclass(one, ControllerRule) and one.controller
    }
    played |= {entry.rule.controller for entry in ENTRIES if isinstance(entry.rule, ControllerRule)}
    assert played == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_controllers__are_described_completely(name):
    controller = controller_of(name)
    assert controller.name == name
    names = [setting.name for setting in controller.settings]
    assert len(set(names)) == len(names)
    assert controller.knob in names
    assert controller.tick_s > 0
    assert controller.tick_s % 0.25 == 0
    assert controller.sees
    for setting in controller.settings:
        assert setting.low <= setting.default <= setting.high, setting
        assert setting.low < setting.high, setting
        assert setting.unit, setting
        assert setting.meaning, setting
    with pytest.raises(ConfigError, match=f"{name}: {names[0]} = nan must be a number between"):
        plug(name, {names[0]: float("nan")})
    with pytest.raises(ConfigError, match="has no setting 'colour'; it has: "):
        plug(name, {"colour": 1.0})


@pytest.mark.parametrize(
    "rule",
    sorted((one for one in classes() if issubclass(one, ControllerRule)), key=str),
)
def test_defaults__are_those_of_the_controller(rule):
    made = rule()
    for setting in made.described.settings:
        assert made.settings[setting.name] == setting.default, setting.name


def test_controller_of__names_the_known_ones():
    with pytest.raises(ConfigError, match="unknown controller 'fancy'; use one of: "):
        controller_of("fancy")


@BY_NAME
def test_entry__is_a_policy_that_says_what_it_needs(entry):
    rule = entry.rule
    assert isinstance(rule, Policy)
    assert isinstance(rule, Rule)
    assert rule.card.privileged == entry.privileged
    if entry.tuned:
        assert rule.knob_name in {setting.name for setting in rule.card.settings}
        assert rule.knob_range is not None
        assert rule.knob is not None
        low, high = rule.knob_range
        assert low <= rule.knob <= high
        assert rule.with_knob(low).knob == pytest.approx(low)
        with pytest.raises(ConfigError, match="must be"):
            rule.with_knob(2.0 * high + 1.0)
    text = inspect.getdoc(type(rule))
    assert text is not None
    assert "Source:" in text
    assert "Knob" in text


@BY_NAME
def test_hold__is_the_same_as_deciding_every_time(entry):
    ends = []
    for at_once in (True, False):
        world = make_world(entry.rule, load_scenario("italy-10"), 2)
        everywhere = np.ones(2, np.bool_)
        world.begin(everywhere, [3, 4])
        actions, _ = entry.rule.act(world.observe())
        if at_once:
            total = world.hold(actions, everywhere, 400)
        else:
            total = sum(world.step(actions, everywhere) for _ in range(400))
        ends.append((total, world.state))
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    for one, two in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_array_equal(one, two)
    assert ends[0][1].head[:, 0].any()


@BY_NAME
def test_rule_json__describes_every_rule(entry):
    data = canonical(rule_json(entry.rule, load_scenario("italy-50")))
    declared = read_canonical(data, "rule.json")
    check_schema(declared, "rule", "rule.json")
    assert declared["formula"]
    for setting in declared["settings"]:
        value = getattr(entry.rule, setting["name"])
        assert value == setting["value"] or isinstance(value, str)


def test_hold__refuses_what_must_be_observed_first():
    world = World(2, "italy-10")
    everywhere = np.ones(2, np.bool_)
    world.begin(everywhere, [1, 2])
    with pytest.raises(ConfigError, match="needs an observation before each decision"):
        world.hold(np.full(2, 2), everywhere, 5)
    world = World(2, "italy-10", action="progressive")
    world.begin(everywhere, [1, 2])
    with pytest.raises(ConfigError, match="n_steps = 0 must be a whole number"):
        world.hold(np.zeros(2, np.int64), everywhere, 0)


def test_hold__ends_with_the_episode():
    world = World(2, "study-real-5", action="progressive")
    everywhere = np.ones(2, np.bool_)
    world.begin(everywhere, [1, 2])
    out = world.hold(np.zeros(2, np.int64), everywhere, 10**6)
    assert out[:, 4].tolist() == [1.0, 1.0]
    assert world.clock_s().tolist() == [28_800.0, 28_800.0]


def test_world__takes_controllers_and_knowledge_only_as_allowed():
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"action": "controller"}, "name the controller"),
        ({"action": "ratio", "controller": "genesys"}, "only action 'controller' takes"),
        ({"action": "controller", "controller": "fancy"}, "unknown controller 'fancy'"),
        ({"action": "theta", "knowledge": "rumour"}, "knowledge = 'rumour' must be one of"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ConfigError, match=re.escape(message)):
            World(1, "italy-10", **arguments)


def test_copies_of_a_world__find_their_controller_anew():
    world = World(2, "italy-10", action="controller", controller="genesys", threads=2)
    everywhere = np.ones(2, np.bool_)
    world.begin(everywhere, [1, 2])
    actions = np.full((2, 1), 2.5, np.float32)
    world.hold(actions, everywhere, 300)
    other = copy.deepcopy(world)
    world.hold(actions, everywhere, 300)
    other.hold(actions, everywhere, 300)
    for one, two in zip(world.state, other.state, strict=True):
        np.testing.assert_array_equal(one, two)


def test_page__is_what_the_rules_say(repository):
    written = (repository / "docs" / "pacing-rules.md").read_text(encoding="utf-8")
    assert written == page(), f"run: {COMMAND}"
