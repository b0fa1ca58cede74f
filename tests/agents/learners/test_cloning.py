"""Behaviour cloning: labels are what the teacher did, and the student learns them."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from quietdial.agents.learners.cloning import Lessons, clone, lessons_of, warm_start
from quietdial.agents.learners.fast_policy import FastDiscretePolicy
from quietdial.agents.rules import Marginal, Predict1, Progressive, VICIdial
from quietdial.envs.errors import ConfigError
from quietdial.envs.scenario import load_scenario

WORLD = load_scenario("study-real-10")
N_FULL = 43


def _student(n_actions: int, n_fields: int = N_FULL, seed: int = 1) -> FastDiscretePolicy:
    torch.manual_seed(seed)
    box = spaces.Box(-10.0, 12.0, (n_fields,), np.float32)
    return FastDiscretePolicy(
        box, spaces.Discrete(n_actions), lambda _: 1e-3, net_arch={"pi": [64, 64], "vf": [64, 64]}
    )


def _lessons(teacher: Any, action: Any = "dials", **changes: Any) -> Lessons:
    given: dict[str, Any] = {"observation": "full", "n_pairs": 4096, "n_campaigns": 64}
    return lessons_of(teacher, WORLD, action=action, **{**given, **changes})


def test_lessons_of__residual_of_the_base_rule_is_nothing() -> None:
    lessons = _lessons(Marginal(0.02), "residual")
    assert lessons.obs.shape == (64, 64, N_FULL)
    assert (lessons.actions == 2).all()
    assert lessons.cut == 0.0


def test_lessons_of__a_bolder_teacher_adds_calls_and_a_timid_one_takes_them() -> None:
    bold, timid = (_lessons(Marginal(theta), "residual").actions for theta in (0.06, 0.006))
    assert bold.mean() > 2.0 > timid.mean()
    assert (bold[0] >= 2).all()  # the floor is the same at the start
    assert (timid[0] <= 2).all()


def test_lessons_of__counts_what_progressive_dials() -> None:
    """Idle agents without a call in flight get one each, which the observation shows."""
    lessons = _lessons(Progressive())
    idle = np.rint(4.0 * lessons.obs[0, :, 0])  # at the start nothing is in flight
    assert (lessons.actions[0] == np.minimum(idle, WORLD.max_dials)).all()
    assert lessons.actions.sum() > lessons.actions[0].sum() > 0


@pytest.mark.parametrize("teacher", [Predict1(), VICIdial()], ids=lambda rule: str(rule.name))
def test_lessons_of__sees_the_dials_of_a_rule_inside_the_kernel(teacher: Any) -> None:
    lessons = _lessons(teacher, n_pairs=16_384)
    assert 0.005 < (lessons.actions > 0).mean() < 0.6


def test_warm_start__copies_marginal_into_plain_dials() -> None:
    """The bound: 92 % of held-out decisions with 64 k pairs; never dialing would give 83 %."""
    policy = _student(7)
    critic = [p.detach().clone() for p in policy.value_net.parameters()]
    report = warm_start(
        policy, WORLD, Marginal(0.02), observation="full", action="dials", n_pairs=65_536
    )
    assert report.agreement > 0.92
    assert report.commonest < 0.85
    assert report.sampled_agreement < report.agreement  # the trap of the sampled clone
    assert all(
        torch.equal(a, b) for a, b in zip(critic, policy.value_net.parameters(), strict=True)
    )


def test_clone__learns_a_controller_rule_as_residual() -> None:
    report = clone(_student(6), _lessons(Predict1(), "residual", n_pairs=49_152))
    assert report.agreement > report.commonest + 0.3
    assert report.agreement > 0.85
    assert report.cut > 0.1  # it often dials far less than the base rule would


def test_clone__repeats_itself_with_the_same_seed() -> None:
    lessons = _lessons(Marginal(0.02))
    first, again, other = (clone(_student(7), lessons, seed=seed, n_epochs=1) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_clone__refuses_a_policy_of_another_world() -> None:
    lessons = _lessons(Marginal(0.02))
    with pytest.raises(ConfigError, match="does not fit lessons"):
        clone(_student(7, n_fields=5), lessons)
    with pytest.raises(ConfigError, match="does not fit lessons"):
        clone(_student(2), lessons)


class _Remembers(Progressive):
    def act(self, obs: Any, state: object | None = None) -> Any:
        return super().act(obs)[0], "something"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_pairs": 0}, "n_pairs = 0"),
        ({"n_campaigns": 0}, "n_campaigns = 0"),
        ({"action": "theta"}, "action = 'theta'"),
        ({"teacher": _Remembers()}, "remembers"),
    ],
)
def test_lessons_of__refuses_what_cannot_be_taught(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _lessons(**{"teacher": Marginal(), **changes})
