"""The tree: it finds a rule that is one, answers like it, and can be read."""

from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.distil import fit_tree
from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import Decode, Inputs
from quietdial.agents.bundle.tree import Table, readable, tree_of

DECODE = Decode("argmax", low=0.0, high=9.0, invalid=0.0, table=(-1.0, 0.0, 1.0), base=True)


def _rows(n: int = 4000) -> tuple[Any, Any]:
    obs = np.random.default_rng(0).random((n, 3)).astype(np.float32)
    return obs, np.where(obs[:, 1] <= 0.5, 0, np.where(obs[:, 2] <= 0.25, 1, 2))


def test_fit_tree__finds_the_rule_that_made_the_rows() -> None:
    obs, actions = _rows()
    tree = fit_tree(obs, actions, DECODE, 3)
    assert tree.n_leaves == 3
    assert (tree.action[tree.leaf_of(obs)] == actions).mean() > 0.97
    assert tree.threshold[0] == pytest.approx(0.5, abs=0.03)
    lines = readable(tree, ["a", "b", "c"])
    assert lines[0].startswith("if b <= 0.")
    assert "  -1   (rule 1," in lines[1]


def test_fit_tree__of_a_continuous_answer_is_its_logarithm() -> None:
    obs, _ = _rows()
    answers = np.where(obs[:, 0] <= 0.5, 0.01, 0.1)
    decode = Decode("continuous", low=0.0, high=1.0, invalid=0.0, log_low=-5.0, log_ratio=3.0)
    tree = fit_tree(obs, answers, decode, 2)
    table = Table(tree, np.zeros(3), np.ones(3), decode)
    got = table.answer(Inputs(np.array([[0.1, 0, 0], [0.9, 0, 0], [2, 0, 0]], np.float32)))
    assert got.answer.tolist() == [pytest.approx(0.01, rel=0.1), pytest.approx(0.1, rel=0.1), 0.0]
    assert got.valid.tolist() == [True, True, False]


def test_table__adds_the_base_and_names_its_rule() -> None:
    obs, actions = _rows()
    table = Table(fit_tree(obs, actions, DECODE, 3), np.zeros(3), np.ones(3), DECODE)
    rows = np.array([[0, 0.1, 0], [0, 0.9, 0.9], [0, 0.1, np.nan], [0, 0.9, 0.9]], np.float32)
    got = table.answer(Inputs(rows, base=np.array([0, 9, 3, 10])))
    assert got.answer.tolist() == [0.0, 9.0, 0.0, 0.0]
    assert got.valid.tolist() == [True, True, False, False]
    assert table.rules(rows[:1]) == ["rule 1"]


def test_tree_of__reads_back_and_refuses_what_is_no_tree() -> None:
    tree = fit_tree(*_rows(), DECODE, 3)
    data = tree.to_dict()
    assert tree_of(data, 3, DECODE).to_dict() == data
    for key, value in (("left", 0), ("feature", 7), ("right", 99), ("threshold", None)):
        bad = {name: list(column) for name, column in data.items()}
        if value is None:
            bad[key].pop()
        else:
            bad[key][0] = value
        with pytest.raises(BundleError, match="is no tree"):
            tree_of(bad, 3, DECODE)
    leaf = data["feature"].index(-1)
    bad = {name: list(column) for name, column in data.items()}
    bad["value"][leaf] = 5.0
    with pytest.raises(BundleError, match="is no tree"):
        tree_of(bad, 3, DECODE)
