"""The fast policy is the policy of stable-baselines3, only faster."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from quietdial.agents.learners.fast_policy import FastDiscretePolicy, FastTanh, starting_bias
from quietdial.envs.errors import ConfigError

OBS = spaces.Box(-3.0, 3.0, (9,), np.float32)
ROWS = 4096


def _policies(n_actions: int = 6) -> tuple[Any, Any, torch.Tensor]:
    torch.manual_seed(0)
    args = (OBS, spaces.Discrete(n_actions), lambda _: 1e-3)
    stock, fast = ActorCriticPolicy(*args), FastDiscretePolicy(*args)
    with torch.no_grad():  # far from uniform, so that differences would show
        stock.get_submodule("action_net").get_parameter("weight").mul_(200.0)
    fast.load_state_dict(stock.state_dict())
    return stock, fast, torch.randn(ROWS, 9)


def test_fast_tanh__is_tanh() -> None:
    x = torch.linspace(-20, 20, 100_001)
    assert (FastTanh()(x) - torch.tanh(x)).abs().max() < 3e-7


def test_evaluate_actions__agrees_with_the_stock_policy() -> None:
    stock, fast, obs = _policies()
    actions = torch.randint(0, 6, (ROWS,))
    for a, b in zip(
        stock.evaluate_actions(obs, actions), fast.evaluate_actions(obs, actions), strict=True
    ):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-5


def test_gradients__agree_with_the_stock_policy() -> None:
    stock, fast, obs = _policies()
    actions = torch.randint(0, 6, (ROWS,))
    for policy in (stock, fast):
        values, log_prob, entropy = policy.evaluate_actions(obs, actions)
        (values.mean() + log_prob.mean() + entropy.mean()).backward()
    for a, b in zip(stock.parameters(), fast.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-5)


def test_forward__log_probs_and_values_agree_with_the_stock_policy() -> None:
    stock, fast, obs = _policies()
    with torch.no_grad():
        actions, values, log_prob = fast(obs)
        want_values, want_log_prob, _ = stock.evaluate_actions(obs, actions)
        best, _, _ = fast(obs, deterministic=True)
        want_best, _, _ = stock(obs, deterministic=True)
    assert actions.shape == (ROWS,)
    assert actions.dtype == torch.int64
    assert (values - want_values).abs().max() <= 1e-5
    assert (log_prob - want_log_prob).abs().max() <= 1e-5
    assert (best == want_best).float().mean() > 0.999  # ties within rounding aside


def test_forward__samples_by_the_probabilities() -> None:
    _, fast, obs = _policies()
    rows = obs[:1].expand(200_000, -1)
    with torch.no_grad():
        actions, _, _ = fast(rows)
        probabilities = fast.get_distribution(obs[:1]).distribution.probs[0]
    shares = torch.bincount(actions, minlength=6) / len(actions)
    deviation = (probabilities * (1 - probabilities) / len(actions)).sqrt()
    assert ((shares - probabilities).abs() <= 5 * deviation + 1e-6).all()


def test_forward__never_takes_an_impossible_action() -> None:
    _, fast, obs = _policies(4)
    with torch.no_grad():
        fast.action_net.weight.zero_()
        fast.action_net.bias.copy_(torch.tensor([-1e4, 0.0, -1e4, -1e4]))
        actions, _, log_prob = fast(obs)
    assert (actions == 1).all()
    assert (log_prob == 0).all()


@pytest.mark.parametrize(
    ("action", "n", "bias"),
    [("residual", 6, [-0.5, -0.25, 0.0, -0.25, -0.5, -0.75]), ("dials", 4, [3.0, 0.0, 0.0, 0.0])],
)
def test_starting_bias__prefers_the_safe_action(action: Any, n: int, bias: list[float]) -> None:
    assert starting_bias(action, n, 0.25) == bias
    assert starting_bias("dials", 3, dials_bias=5.0) == [5.0, 0.0, 0.0]
    policy = FastDiscretePolicy(OBS, spaces.Discrete(n), lambda _: 1e-3, logit_bias=bias)
    assert policy.action_net.bias.tolist() == bias  # type: ignore[union-attr, operator]
    best, _, _ = policy(torch.randn(500, 9), deterministic=True)
    assert (best == bias.index(max(bias))).all()


def test_constructor__refuses_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="Discrete action space"):
        FastDiscretePolicy(OBS, spaces.Box(0, 1, (1,)), lambda _: 1e-3)
    with pytest.raises(ConfigError, match="logit_bias has 2 entries; 3 actions"):
        FastDiscretePolicy(OBS, spaces.Discrete(3), lambda _: 1e-3, logit_bias=[0.0, 1.0])
    with pytest.raises(ConfigError, match="share_features_extractor"):
        FastDiscretePolicy(OBS, spaces.Discrete(3), lambda _: 1e-3, share_features_extractor=False)
