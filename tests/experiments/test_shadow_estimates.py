"""Off-policy estimates against a chain whose truth is computed exactly.

A queue of three states; the incumbent draws how many calls it places with known probabilities. The
truth of a policy that takes over for K decisions of a block is a product of matrices.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from quietdial.experiments.shadow.behaviour import fit_behaviour
from quietdial.experiments.shadow.estimates import Blocks, Estimate, estimate, kish, weights_of

Floats = NDArray[np.float64]

STATES, H = 3, 8
INCUMBENT: Final = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.7, 0.2, 0.1]])
"""P(action | state)."""
MOVES: Final = np.array(
    [
        [[0.8, 0.2, 0.0], [0.4, 0.5, 0.1], [0.1, 0.6, 0.3]],
        [[0.5, 0.5, 0.0], [0.2, 0.6, 0.2], [0.0, 0.5, 0.5]],
        [[0.2, 0.5, 0.3], [0.0, 0.5, 0.5], [0.0, 0.2, 0.8]],
    ]
)
"""P(next | state, action)."""
SILENT: Final = np.array([[0.0, 0.01, 0.05], [0.02, 0.1, 0.2], [0.1, 0.3, 0.5]])
"""P(a silent call | state, action); one call in each decision is answered."""
BUSY: Final = np.array([0.2, 0.6, 0.9])
NEAR: Final = 0.7 * INCUMBENT + 0.3 * np.array([0.6, 0.3, 0.1])
GREEDY: Final = np.eye(3)[[1, 0, 0]]
"""A policy that never draws, of the incumbent's likeliest actions."""


class Chain(NamedTuple):
    """Replications of a recorded chain, (R, T) each."""

    state: NDArray[np.int64]
    action: NDArray[np.int64]
    silent: Floats
    busy: Floats


def played(replications: int, blocks: int, seed: int) -> Chain:
    rng = np.random.default_rng(seed)
    rows = []
    state = rng.integers(0, STATES, replications)
    for step in range(blocks * H + 50):
        action = (rng.random(replications)[:, None] > INCUMBENT[state].cumsum(1)).sum(1)
        silent = rng.random(replications) < SILENT[state, action]
        busy = BUSY[state] + 0.1 * rng.random(replications)
        if step >= 50:
            rows.append((state, action, silent.astype(float), busy))
        state = (rng.random(replications)[:, None] > MOVES[state, action].cumsum(1)).sum(1)
    return Chain(*(np.array(part).T for part in zip(*rows, strict=True)))


def truth(policy: Floats, decisions: int) -> tuple[float, float]:
    """(silent per answered, busy) of a block in which the policy has the first decisions."""
    step = np.einsum("sa,san->sn", INCUMBENT, MOVES)
    at = np.linalg.matrix_power(step, 500)[0]
    silent = busy = 0.0
    for k in range(H):
        who = policy if k < decisions else INCUMBENT
        silent += float(at @ (who * SILENT).sum(1))
        busy += float(at @ BUSY) + 0.05
        at = at @ np.einsum("sa,san->sn", who, MOVES)
    return silent / H, busy / H


def blocks_of(chain: Chain, row: int, policy: Floats, chances: Floats | None = None) -> Blocks:
    state, action = chain.state[row], chain.action[row]
    if chances is None:
        chances = INCUMBENT[state, action]
    n = len(state) // H

    def cut(x: Floats) -> Floats:
        return x.reshape(n, H)

    return Blocks(
        ratio=cut(policy[state, action] / chances),
        answered=np.ones((n, H)),
        silent=cut(chain.silent[row]),
        busy_s=cut(chain.busy[row]),
        available_s=np.ones((n, H)),
        cluster=np.arange(n) // 10,
        interval_s=1.0,
    )


def covered(found: list[Estimate], silent: float, busy: float) -> tuple[float, float]:
    """Shares of intervals that hold the truth."""
    hits = [
        (
            one.silent_rate.lo <= silent <= one.silent_rate.hi,
            one.utilisation.lo <= busy <= one.utilisation.hi,
        )
        for one in found
        if one.silent_rate is not None and one.utilisation is not None
    ]
    assert len(hits) == len(found)
    rates = np.array(hits).mean(axis=0)
    return float(rates[0]), float(rates[1])


@pytest.mark.parametrize(
    ("policy", "decisions"),
    [(NEAR, 1), (NEAR, 4), (NEAR, 8), (GREEDY, 1)],
    ids=["near-1", "near-4", "near-8", "greedy-1"],
)
def test_estimate__covers_the_truth_with_known_probabilities(
    policy: Floats, decisions: int
) -> None:
    chain = played(200, 400, seed=decisions)
    found = [estimate(blocks_of(chain, r, policy), decisions, least_ess=0.0) for r in range(200)]
    shares = covered(found, *truth(policy, decisions))
    # 200 intervals of 95 %: fewer than .90 happen once in 600 times, were the rate as stated
    assert min(shares) >= 0.90, shares
    values = [one.silent_rate.value for one in found if one.silent_rate is not None]
    assert np.mean(values) == pytest.approx(truth(policy, decisions)[0], abs=0.01)


def test_estimate__covers_the_truth_with_fitted_probabilities() -> None:
    chain = played(40, 400, seed=3)
    fold = np.arange(400 * H) // (80 * H)
    found = []
    for row in range(40):
        obs = np.eye(STATES, dtype=np.float32)[chain.state[row]][:, 1:]
        model = fit_behaviour(obs, chain.action[row], fold)
        assert (
            np.abs(model.probability - INCUMBENT[chain.state[row], chain.action[row]]).max() < 0.1
        )
        assert model.gain > 0
        found.append(estimate(blocks_of(chain, row, NEAR, model.probability), 4, least_ess=0.0))
    # 40 intervals of 95 %: fewer than .85 happen once in 150 times
    assert min(covered(found, *truth(NEAR, 4))) >= 0.85


def test_estimate__of_the_incumbent_itself_is_its_mean_with_all_blocks() -> None:
    chain = played(1, 300, seed=4)
    blocks = blocks_of(chain, 0, INCUMBENT)
    for decisions in (1, 8):
        found = estimate(blocks, decisions)
        assert found.ess == pytest.approx(300.0)
        assert found.silent_rate is not None
        assert found.utilisation is not None
        assert found.silent_rate.value == pytest.approx(blocks.silent.mean())
        assert found.utilisation.value == pytest.approx(blocks.busy_s.mean())
        assert found.silent_rate_change is not None
        assert found.silent_rate_change.hi == pytest.approx(0.0, abs=1e-12)


def test_estimate__has_fewer_effective_blocks_the_longer_and_the_further() -> None:
    chain = played(1, 500, seed=5)
    near = [estimate(blocks_of(chain, 0, NEAR), k).ess for k in (1, 4, 8)]
    greedy = [estimate(blocks_of(chain, 0, GREEDY), k).ess for k in (1, 4, 8)]
    assert sorted(near, reverse=True) == near
    assert sorted(greedy, reverse=True) == greedy
    assert all(far < close for far, close in zip(greedy, near, strict=True))


def test_estimate__refuses_few_effective_blocks_and_what_the_incumbent_never_does() -> None:
    chain = played(1, 400, seed=6)
    few = estimate(blocks_of(chain, 0, GREEDY), 8)
    assert few.refused.startswith("not identified")
    assert few.silent_rate is None
    never = blocks_of(chain, 0, INCUMBENT)
    ratio = np.where(never.answered.cumsum(axis=1) == 1, 0.5, never.ratio)
    lost = estimate(Blocks(**{**vars(never), "ratio": ratio}), 4)
    assert "never does" in lost.refused
    wrong = estimate(Blocks(**{**vars(never), "ratio": 1.3 * never.ratio}), 1)
    assert "probabilities are wrong" in wrong.refused
    short = estimate(Blocks(**{**vars(never), "cluster": np.zeros(400, np.int64)}), 1)
    assert "stretches" in short.refused


def test_weights__are_products_until_the_policy_leaves() -> None:
    ratio = np.array([[2.0, 3.0, 5.0], [0.5, 0.0, 1.0]])
    assert weights_of(ratio, 2).tolist() == [[2.0, 6.0, 6.0], [0.5, 0.0, 0.0]]
    assert kish(np.array([1.0, 1.0, 0.0])) == 2.0
    assert kish(np.zeros(3)) == 0.0


def test_fit_behaviour__sees_that_an_incumbent_never_draws() -> None:
    rng = np.random.default_rng(8)
    obs = rng.normal(0, 1, (2000, 2)).astype(np.float32)
    placed = np.where(obs[:, 0] > 0.2, 2, 0)
    found = fit_behaviour(obs, placed, np.arange(2000) // 500)
    assert found.surest > 0.97
