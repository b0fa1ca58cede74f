"""The distilled table: a small decision tree that answers like the policy, readable by people.

A row goes left where feature <= threshold. The tree's value is brought to the nearest entry of the
policy's action table (of a continuous answer: taken as the logarithm of the answer), so the table
answers in the same unit, and says by which rule (leaf) it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import NO_ACTION, Answers, Decode, Inputs

Floats = NDArray[np.float64]

_END = -1


@dataclass(frozen=True, eq=False)
class Tree:
    """A binary tree, its nodes numbered from the root 0; children come after their parents.

    Attributes:
        feature: int64 (K,), the feature that a node asks for; -1: a leaf.
        threshold: float64 (K,), left where feature <= threshold.
        left: int64 (K,), the child where it is.
        right: int64 (K,), the child where it is not.
        action: int64 (K,), action of a leaf; 0 where the answer is continuous.
        value: float64 (K,), a leaf's entry of the action table, or its continuous answer.
        share: float64 (K,), share of the training rows that come to a node.
    """

    feature: NDArray[np.int64]
    threshold: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    action: NDArray[np.int64]
    value: Floats
    share: Floats

    @property
    def n_leaves(self) -> int:
        """Number of rules."""
        return int((self.feature == _END).sum())

    def leaf_of(self, obs: NDArray[np.float32]) -> NDArray[np.int64]:
        """The leaf (its node's number) that each row comes to, int64 (B,)."""
        at = np.zeros(len(obs), np.int64)
        rows = np.arange(len(obs))
        while (inner := self.feature[at] != _END).any():
            asked = obs[rows, np.maximum(self.feature[at], 0)].astype(np.float64)
            child = np.where(asked <= self.threshold[at], self.left[at], self.right[at])
            at = np.where(inner, child, at)
        return at

    def to_dict(self) -> dict[str, Any]:
        """The object `tree` of table.json."""
        return {
            "feature": self.feature.tolist(),
            "threshold": self.threshold.tolist(),
            "left": self.left.tolist(),
            "right": self.right.tolist(),
            "action": self.action.tolist(),
            "value": self.value.tolist(),
            "share": self.share.tolist(),
        }


def tree_of(data: Mapping[str, Any], n_features: int, decode: Decode) -> Tree:
    """The tree of a table.json that the schema allows.

    Raises:
        BundleError: it is no tree over these features and actions.
    """
    tree = Tree(
        feature=np.array(data["feature"], np.int64),
        threshold=np.array(data["threshold"], np.float64),
        left=np.array(data["left"], np.int64),
        right=np.array(data["right"], np.int64),
        action=np.array(data["action"], np.int64),
        value=np.array(data["value"], np.float64),
        share=np.array(data["share"], np.float64),
    )
    k = len(tree.feature)
    here, inner = np.arange(k), tree.feature != _END
    children = np.concatenate([tree.left[inner], tree.right[inner]])
    n = max(len(decode.table), 1)
    ok = (
        len({len(column) for column in tree.to_dict().values()}) == 1
        and bool(((tree.feature >= _END) & (tree.feature < n_features)).all())
        and sorted(children.tolist()) == list(range(1, k))
        and bool((tree.left[inner] > here[inner]).all() and (tree.right[inner] > here[inner]).all())
        and bool((tree.left[~inner] == _END).all() and (tree.right[~inner] == _END).all())
        and bool(((tree.action >= 0) & (tree.action < n)).all())
    )
    if ok and decode.table:
        ok = bool((np.asarray(decode.table)[tree.action[~inner]] == tree.value[~inner]).all())
    if not ok:
        raise BundleError("table.json: is no tree over the policy's features and actions")
    return tree


@dataclass(frozen=True, eq=False)
class Table:
    """The tree with the policy's ranges and decoding: an evaluator like `PlainPolicy`."""

    tree: Tree
    low: Floats
    high: Floats
    decode: Decode

    def answer(self, inputs: Inputs) -> Answers:
        """Decide for a batch; takes `obs` and, with a base, `base`."""
        obs = inputs.obs
        valid = np.asarray(((obs >= self.low) & (obs <= self.high)).all(axis=1), np.bool_)
        base = np.zeros(len(obs))
        if self.decode.base and inputs.base is not None:
            valid = valid & (inputs.base >= 0) & (inputs.base <= self.decode.high)
            base = np.where(valid, inputs.base, 0).astype(np.float64)
        leaf = self.tree.leaf_of(np.where(valid[:, None], obs, np.float32(0)))
        value = self.tree.value[leaf] + base
        value = np.minimum(np.maximum(value, self.decode.low), self.decode.high)
        choice = None
        if self.decode.choices:
            taken = np.asarray(self.decode.choices, np.int64)[self.tree.action[leaf]]
            choice = np.where(valid, taken, 0)
        return Answers(
            answer=np.where(valid, value, self.decode.invalid),
            action=np.where(valid, self.tree.action[leaf], NO_ACTION),
            valid=valid,
            choice=choice,
        )

    def rules(self, obs: NDArray[np.float32]) -> list[str]:
        """Which rule answers each row: "rule <node>"."""
        return [f"rule {leaf}" for leaf in self.tree.leaf_of(obs).tolist()]


def readable(tree: Tree, names: Sequence[str]) -> list[str]:
    """The tree as indented lines of if and else; its rules are numbered as in table.json."""
    lines: list[str] = []

    def write(node: int, depth: int) -> None:
        pad = "  " * depth
        if tree.feature[node] == _END:
            lines.append(
                f"{pad}{tree.value[node]:+.4g}   (rule {node}, {100 * tree.share[node]:.1f} %)"
            )
            return
        asked = f"{names[tree.feature[node]]} <= {tree.threshold[node]:.6g}"
        lines.append(f"{pad}if {asked}")
        write(int(tree.left[node]), depth + 1)
        lines.append(f"{pad}else")
        write(int(tree.right[node]), depth + 1)

    write(0, 0)
    return lines
