"""The contract: what policy.json must hold, and the reference evaluation of its plain layers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from quietdial.agents.contract import PolicyContract, evaluate, load_contract
from quietdial.envs.errors import ExportError


def _contract(**changes: Any) -> dict[str, Any]:
    """One input x in -1..1, one layer with y = (-x, 0, x): follow the sign of x."""
    data: dict[str, Any] = {
        "name": "hand-made",
        "created": "2026-01-02T03:04:05Z",
        "quietdial": "0.1.0",
        "features": [{"name": "x", "unit": "1", "low": -1, "high": 1, "meaning": "x", "index": 0}],
        "normalisation": {"mean": [0.0], "std": [1.0]},
        "action": {
            "kind": "residual",
            "decode": {"n_actions": 3, "offset": -1, "max": 4},
            "base": {"theta": 0.02},
        },
        "decision_interval_s": 1.0,
        "regulation": {"id": "test", "cap": 0.03, "wait_limit_s": 3.0},
        "training": {
            "scenario": "test",
            "scenario_sha256": "0" * 64,
            "n_agents": 10,
            "observation": "full",
            "details": {},
        },
        "parity": {"vectors": 1, "invalid_vectors": 0, "seed": 0, "runtimes": {}},
        "onnx": {
            "sha256": "0" * 64,
            "bytes": 1,
            "opset": 18,
            "ir_version": 8,
            "inputs": {},
            "outputs": {},
        },
        "layers": [{"w": [[-1.0, 0.0, 1.0]], "b": [0.0, 0.1, 0.0], "act": "identity"}],
    }
    return {**data, **changes}


def test_evaluate__decodes_a_hand_worked_policy() -> None:
    contract = PolicyContract.model_validate(_contract())
    obs = np.array(
        [[-0.5], [0.05], [0.5], [-0.5], [0.5], [np.nan], [1.5], [0.5], [0.5]], np.float32
    )
    base = np.array([2, 2, 2, 0, 4, 2, 2, -1, 5])
    dials, valid = evaluate(contract, obs, base)
    assert dials.tolist() == [1, 2, 3, 0, 4, 0, 0, 0, 0]
    assert valid.tolist() == [True] * 5 + [False] * 4


def test_evaluate__normalises_and_takes_the_first_of_equals() -> None:
    contract = PolicyContract.model_validate(
        _contract(
            normalisation={"kind": "mean-std", "mean": [0.5], "std": [2.0]},
            layers=[{"w": [[-1.0, 0.0, 1.0]], "b": [0.0, 0.0, 0.0], "act": "identity"}],
        )
    )
    dials, _ = evaluate(contract, np.array([[0.5], [0.6]], np.float32), np.array([2, 2]))
    assert dials.tolist() == [1, 3]


def test_evaluate__refuses_other_inputs() -> None:
    contract = PolicyContract.model_validate(_contract())
    with pytest.raises(ExportError, match=r"\(batch, 1\) is needed"):
        evaluate(contract, np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
    with pytest.raises(ExportError, match="needs base_dials"):
        evaluate(contract, np.zeros((1, 1), np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": []}, "features"),
        ({"created": "yesterday"}, "created"),
        ({"normalisation": {"mean": [0.0, 0.0], "std": [1.0]}}, "normalisation needs 1"),
        ({"normalisation": {"mean": [0.0], "std": [0.0]}}, "std"),
        ({"layers": [{"w": [[1.0], [1.0]], "b": [0.0], "act": "tanh"}]}, "does not take 1"),
        ({"layers": [{"w": [[1.0]], "b": [0.0], "act": "tanh"}]}, "not one for each action"),
        (
            {
                "action": {
                    "kind": "dials",
                    "decode": {"n_actions": 3, "offset": 0, "max": 2},
                    "base": {"theta": 0.02},
                }
            },
            "belongs to 'residual'",
        ),
        (
            {
                "parity": {
                    "vectors": 1,
                    "invalid_vectors": 0,
                    "mismatches": 1,
                    "seed": 0,
                    "runtimes": {},
                }
            },
            "mismatches",
        ),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_contract__refuses_what_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PolicyContract.model_validate(_contract(**changes))


def test_load_contract__reads_or_says_why_not(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with pytest.raises(ExportError, match="cannot be read"):
        load_contract(path)
    path.write_text(json.dumps(_contract()))
    assert load_contract(path).name == "hand-made"
    for junk, message in (
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("3", "policy.json"),
    ):
        path.write_text(junk)
        with pytest.raises(ExportError, match=message) as error:
            load_contract(path)
        assert "\n" not in str(error.value)
