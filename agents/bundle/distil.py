"""Fit a small tree to what a policy does (regression tree, best split first).

An action table is ordered by how much is dialed, so the tree is fitted to the entries of the table
(of a continuous answer: to its logarithm) by least squares and brought to the nearest entry. That
cares for how far off an answer is, which the share of equal actions does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.evaluate import Decode
from quietdial.agents.bundle.tree import Tree

_BINS = 64
"""Thresholds that are tried for each feature."""

_LEAST = 30
"""Fewest rows of a leaf."""


@dataclass
class _Node:
    """A node while the tree grows, with the best split that was found for it."""

    rows: NDArray[np.int64]
    gain: float
    feature: int
    bin: int
    left: int = -1
    right: int = -1


def fit_tree(
    obs: NDArray[np.float32],
    actions: NDArray[np.int64] | NDArray[np.float64],
    decode: Decode,
    n_leaves: int,
) -> Tree:
    """Fit a tree to decisions.

    Args:
        obs: float32 (n, F).
        actions: the policy's actions, int64 (n,), or its continuous answers, float64 (n,).
        decode: the policy's decoding.
        n_leaves: most rules.
    """
    continuous = decode.read == "continuous"
    table = np.asarray(decode.table)
    target = (
        np.log(np.maximum(actions, 1e-12))
        if continuous
        else table[np.asarray(actions, dtype=np.int64)]
    )
    target = np.asarray(target, dtype=np.float64)
    edges = [np.unique(np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1])) for column in obs.T]
    pairs = zip(edges, obs.T, strict=True)
    bins = np.stack([np.searchsorted(edge, column, side="left") for edge, column in pairs])
    nodes = [_searched(np.arange(len(obs)), bins, target)]
    for _ in range(n_leaves - 1):
        open_ = [i for i, node in enumerate(nodes) if node.left < 0 and node.gain > 1e-9]
        if not open_:
            break
        at = max(open_, key=lambda i: nodes[i].gain)
        node = nodes[at]
        goes_left = bins[node.feature, node.rows] <= node.bin
        node.left, node.right = len(nodes), len(nodes) + 1
        nodes.append(_searched(node.rows[goes_left], bins, target))
        nodes.append(_searched(node.rows[~goes_left], bins, target))
    return _tree(nodes, edges, target, decode, len(obs))


def _searched(
    rows: NDArray[np.int64], bins: NDArray[np.int64], target: NDArray[np.float64]
) -> _Node:
    """A node with its best split: the one that takes most off the sum of squares."""
    y = target[rows]
    n, total = len(rows), float(y.sum())
    best = _Node(rows, 0.0, 0, 0)
    if n < 2 * _LEAST:
        return best
    for feature, column in enumerate(bins):
        here = column[rows]
        count = np.cumsum(np.bincount(here, minlength=_BINS))[:-1]
        sums = np.cumsum(np.bincount(here, weights=y, minlength=_BINS))[:-1]
        ok = (count >= _LEAST) & (n - count >= _LEAST)
        if not ok.any():
            continue
        left, right = np.where(ok, count, 1), np.where(ok, n - count, 1)
        gain = sums**2 / left + (total - sums) ** 2 / right - total**2 / n
        gain = np.where(ok, gain, 0.0)
        at = int(gain.argmax())
        if gain[at] > best.gain:
            best = _Node(rows, float(gain[at]), feature, at)
    return best


def _tree(
    nodes: list[_Node],
    edges: list[NDArray[np.float64]],
    target: NDArray[np.float64],
    decode: Decode,
    n: int,
) -> Tree:
    table = np.asarray(decode.table)
    leaf = np.array([node.left < 0 for node in nodes])
    means = np.array([target[node.rows].mean() if len(node.rows) else 0.0 for node in nodes])
    if decode.read == "continuous":
        action = np.zeros(len(nodes), np.int64)
        value = np.exp(means)
    else:
        action = np.abs(means[:, None] - table[None, :]).argmin(axis=1)
        value = table[action]
    asked = [-1 if end else node.feature for end, node in zip(leaf, nodes, strict=True)]
    at = [0.0 if f < 0 else edges[f][node.bin] for f, node in zip(asked, nodes, strict=True)]
    return Tree(
        feature=np.array(asked),
        threshold=np.array(at, np.float64),
        left=np.array([node.left for node in nodes]),
        right=np.array([node.right for node in nodes]),
        action=np.where(leaf, action, 0),
        value=np.where(leaf, value, 0.0),
        share=np.array([round(len(node.rows) / n, 6) for node in nodes]),
    )
