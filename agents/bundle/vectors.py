"""Vectors to compare runtimes on, and the golden ones that a bundle carries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.evaluate import CELL_LIMIT, Inputs, PlainPolicy
from quietdial.agents.bundle.replay import MARGIN, Golden

N_GOLDEN: Final = 1_100
"""Golden vectors at least."""

_STARTS: Final = 20
"""Places from which an action is searched."""

_BROKEN: Final = (np.nan, np.inf, -np.inf)


def sample_inputs(policy: PlainPolicy, seed: int, n: int) -> Inputs:
    """Draw inputs: half inside the bounds, a quarter near them, a quarter broken.

    Near: some features on a bound, or one float32 step inside or outside of it. Broken: features
    that are NaN, infinite or far outside, and here and there another input that is.

    Args:
        policy: who is to be asked.
        seed: of the draws.
        n: number of vectors.
    """
    rng = np.random.default_rng(seed)
    low, high = policy.low.astype(np.float32), policy.high.astype(np.float32)
    obs = rng.uniform(low, high, size=(n, len(low))).astype(np.float32).clip(low, high)
    near, broken = slice(n // 2, 3 * n // 4), slice(3 * n // 4, n)

    at_low = rng.random(obs[near].shape) < 0.5
    bound = np.where(at_low, low, high)
    inward = np.where(at_low, np.float32(np.inf), np.float32(-np.inf))
    toward = np.where(rng.random(bound.shape) < 0.02, -inward, inward)
    edge = np.where(rng.random(bound.shape) < 0.6, bound, np.nextafter(bound, toward))
    touched = rng.random(bound.shape) < 0.3
    obs[near] = np.where(touched, edge, obs[near])

    rows = obs[broken]
    width = high - low
    bad = np.stack(
        [
            *(np.full_like(rows, value) for value in _BROKEN),
            np.broadcast_to(high + width, rows.shape),
            np.broadcast_to(low - width, rows.shape),
            np.full_like(rows, 1e30),
        ]
    )
    which = rng.random(rows.shape) < 1.0 / len(low)
    which[np.arange(len(rows)), rng.integers(0, len(low), size=len(rows))] = True
    kind = rng.integers(0, len(bad), size=rows.shape)
    obs[broken] = np.where(which, np.take_along_axis(bad, kind[None], axis=0)[0], rows)
    return _with_others(policy, obs, rng, near, broken)


def _with_others(
    policy: PlainPolicy, obs: NDArray[np.float32], rng: np.random.Generator, *rows: slice
) -> Inputs:
    """The other inputs to features: at their bounds in the first rows named, broken in the last."""
    n = len(obs)
    inputs = Inputs(obs)
    near, broken = rows if rows else (slice(0, 0), slice(0, 0))
    if policy.decode.base:
        most = int(policy.decode.high)
        base = rng.integers(0, most + 1, size=n)
        base[near] = rng.choice(np.array([0, most]), size=base[near].shape)
        far = np.array([-1, -5, most + 1, 2**62, -(2**62)])
        base[broken] = _some(rng, base[broken], far)
        inputs = inputs._replace(base=base)
    if policy.decode.read == "sample":
        uniform = rng.random(n)
        uniform[near] = _some(rng, uniform[near], np.array([0.0, 1.0 - 2.0**-53]))
        uniform[broken] = _some(rng, uniform[broken], np.array([1.0, -1e-300, np.nan, np.inf]))
        inputs = inputs._replace(uniform=uniform)
    if policy.memory is not None:
        shape = (n, len(policy.memory[1]))
        hidden, cell = rng.uniform(-1.0, 1.0, shape), rng.normal(0.0, 2.0, shape)
        hidden[: n // 8] = cell[: n // 8] = 0.0  # the opening
        hidden[broken, 0] = _some(rng, hidden[broken, 0], np.array([1.0 + 1e-9, -2.0, np.nan]))
        cell[broken, 0] = _some(rng, cell[broken, 0], np.array([2 * CELL_LIMIT, np.nan, -np.inf]))
        inputs = inputs._replace(hidden=hidden, cell=cell)
    return inputs


def _some(rng: np.random.Generator, values: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """About every tenth of `values` replaced by one of `others`."""
    replaced = rng.random(values.shape) < 0.1
    return np.where(replaced, rng.choice(others, size=values.shape), values)


def joined(parts: Iterable[Inputs]) -> Inputs:
    """Several batches of the same kind one after the other."""
    columns = zip(*parts, strict=True)
    return Inputs._make(None if c[0] is None else np.concatenate(c) for c in columns)


def golden_vectors(policy: PlainPolicy, seen: NDArray[np.float32], seed: int) -> Golden:
    """Golden vectors: every bound, what is broken, every action found, days, and random ones.

    Args:
        policy: the policy.
        seen: float32 (n, F), n >= 1, observations of simulated days.
        seed: of the draws.
    """
    rng = np.random.default_rng([seed, 1])
    seen = seen[rng.permutation(len(seen))[:400]]
    parts = [
        _with_others(policy, _edges(policy, seen[0]), rng),
        _with_others(policy, seen, rng),
        _every_action(policy, seen, rng),
    ]
    n = sum(len(part.obs) for part in parts)
    parts.append(sample_inputs(policy, seed + 1, max(N_GOLDEN - n, 0) + 100))
    inputs = joined(parts)
    valid = policy.valid_rows(inputs)
    margin = np.full(len(valid), np.inf)
    margin[valid] = policy.margin(inputs.rows(valid))
    inputs = inputs.rows(margin > MARGIN)
    return Golden(inputs, policy.answer(inputs))


def _edges(policy: PlainPolicy, row: NDArray[np.float32]) -> NDArray[np.float32]:
    """One row for each feature at each bound, one step outside of it, and broken."""
    low, high = policy.low.astype(np.float32), policy.high.astype(np.float32)
    below, above = np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf))
    columns = [low, high, below, above, *(np.full_like(low, value) for value in _BROKEN)]
    rows = np.tile(row, (len(columns) * len(low), 1))
    for k, values in enumerate(columns):
        for i, value in enumerate(values):
            rows[k * len(low) + i, i] = value
    return rows


def _every_action(
    policy: PlainPolicy, seen: NDArray[np.float32], rng: np.random.Generator
) -> Inputs:
    """Rows in which every action is taken that a search finds."""
    low, high = policy.low.astype(np.float32), policy.high.astype(np.float32)
    n = 4000
    obs = rng.uniform(low, high, size=(n, len(low))).astype(np.float32).clip(low, high)
    corner = rng.random(obs.shape)
    obs = np.where(corner < 0.3, low, np.where(corner > 0.7, high, obs))
    obs[: len(seen)] = seen
    inputs = _with_others(policy, obs, rng)
    if policy.decode.read == "continuous":
        answers = policy.answer(inputs).answer
        return inputs.rows([int(answers.argmin()), int(answers.argmax())])
    found: list[Inputs] = []
    y = policy.numbers(inputs)[0]
    for action in range(policy.decode.n_actions):
        for start in np.argsort(-_lead(y, action))[:_STARTS]:
            row = _climbed(policy, inputs.rows([int(start)]), action)
            if row.uniform is not None:
                weights = np.exp(policy.numbers(row)[0][0])
                edges = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
                row = row._replace(uniform=np.array([0.5 * (edges[action] + edges[action + 1])]))
            if policy.answer(row).action[0] == action:
                found.append(row)
                break
    return joined(found)


def _climbed(policy: PlainPolicy, row: Inputs, action: int) -> Inputs:
    """Move one feature after the other to a bound while that favours the action, 40 times."""
    n = len(policy.low)
    bounds = np.concatenate([policy.low, policy.high]).astype(np.float32)
    at = np.concatenate([np.arange(n), np.arange(n)])
    for _ in range(40):
        y = policy.numbers(row)[0]
        if y[0].argmax() == action:
            break
        tried = row.rows(np.zeros(2 * n, np.int64))
        obs = tried.obs.copy()
        obs[np.arange(2 * n), at] = bounds
        tried = tried._replace(obs=obs)
        lead = _lead(policy.numbers(tried)[0], action)
        if lead.max() <= _lead(y, action)[0]:
            break
        row = tried.rows([int(lead.argmax())])
    return row


def _lead(y: NDArray[np.float64], action: int) -> NDArray[np.float64]:
    return np.asarray(y[:, action] - np.delete(y, action, axis=1).max(axis=1))
