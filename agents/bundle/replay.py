"""Golden vectors: inputs with their answers, one JSON object a line, for any language.

JSON has no NaN and no infinity: they are the texts "NaN", "Infinity" and "-Infinity". No vector
lies within :data:`MARGIN` of another action, so that no runtime can differ by its last digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import Answers, Decode, Inputs, PlainPolicy
from quietdial.agents.bundle.strict import canonical, check_schema, read_json

MIN_VECTORS: Final = 1_000
MAX_VECTORS: Final = 20_000

MARGIN: Final = 1e-9
"""Least distance of a golden vector from another action."""

TOLERANCE: Final = 1e-5
"""Largest difference of a continuous answer, and of a memory's numbers."""

_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Golden(NamedTuple):
    """Vectors with the answers that they must get."""

    inputs: Inputs
    answers: Answers


def golden_lines(golden: Golden) -> bytes:
    """The content of golden.jsonl."""
    inputs, answers = golden
    rows = [
        canonical(
            {
                "obs": [_shortest(value) for value in inputs.obs[i]],
                **_row(i, base_dials=inputs.base, uniform=inputs.uniform),
                **_row(i, hidden=inputs.hidden, cell=inputs.cell),
                **_row(i, answer=answers.answer, action=answers.action, valid=answers.valid),
                **_row(i, choice=answers.choice),
                **_row(i, hidden_out=answers.hidden, cell_out=answers.cell),
            }
        )
        for i in range(len(inputs.obs))
    ]
    return b"".join(rows)


def _row(i: int, **columns: NDArray[Any] | None) -> dict[str, Any]:
    return {
        name: _plain(values[i].tolist()) for name, values in columns.items() if values is not None
    }


def _plain(value: Any) -> Any:
    """A number, list or truth value; what JSON cannot say in words."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, x in _WORDS.items() if x == value or (x != x and value != value))
    return value


def _shortest(value: np.float32) -> Any:
    """The shortest number that is this float32 after rounding."""
    if not np.isfinite(value):
        return _plain(float(value))
    short = float(str(value))
    return short if np.float32(short) == value else float(value)


def read_golden(data: bytes, policy: PlainPolicy) -> Golden:
    """Read golden.jsonl for a policy.

    Raises:
        BundleError: a line is not what the schema says, or is not for this policy.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"" or not MIN_VECTORS <= len(lines) <= MAX_VECTORS:
        raise BundleError(
            f"golden.jsonl: {len(lines)} lines; {MIN_VECTORS} to {MAX_VECTORS} are allowed"
        )
    rows = []
    for i, line in enumerate(lines):
        row = read_json(line, f"golden.jsonl line {i + 1}")
        check_schema(row, "golden", f"golden.jsonl line {i + 1}")
        rows.append(row)
    n, size = len(policy.low), 0 if policy.memory is None else len(policy.memory[1])
    keys = {"obs", "answer", "action", "valid"}
    keys |= {"base_dials"} if policy.decode.base else set()
    keys |= {"uniform"} if policy.decode.read == "sample" else set()
    keys |= {"choice"} if policy.decode.choices else set()
    keys |= {"hidden", "cell", "hidden_out", "cell_out"} if size else set()
    for i, row in enumerate(rows):
        long = [len(row[key]) for key in ("hidden", "cell", "hidden_out", "cell_out") if key in row]
        if set(row) != keys or len(row["obs"]) != n or any(length != size for length in long):
            raise BundleError(f"golden.jsonl line {i + 1}: is not for this policy")
    return Golden(
        Inputs(
            obs=_reals(rows, "obs").astype(np.float32),
            base=_wholes(rows, "base_dials"),
            uniform=_reals(rows, "uniform") if "uniform" in keys else None,
            hidden=_reals(rows, "hidden") if size else None,
            cell=_reals(rows, "cell") if size else None,
        ),
        Answers(
            answer=_reals(rows, "answer"),
            action=np.array([row["action"] for row in rows], np.int64),
            valid=np.array([row["valid"] for row in rows], np.bool_),
            choice=_wholes(rows, "choice"),
            hidden=_reals(rows, "hidden_out") if size else None,
            cell=_reals(rows, "cell_out") if size else None,
        ),
    )


def _reals(rows: list[dict[str, Any]], key: str) -> NDArray[np.float64]:
    def number(value: Any) -> float:
        return _WORDS[value] if isinstance(value, str) else float(value)

    return np.array(
        [
            [number(one) for one in row[key]] if isinstance(row[key], list) else number(row[key])
            for row in rows
        ],
        np.float64,
    )


def _wholes(rows: list[Mapping[str, Any]], key: str) -> NDArray[np.int64] | None:
    return np.array([row[key] for row in rows], np.int64) if key in rows[0] else None


def n_differences(wanted: Answers, got: Answers, decode: Decode) -> int:
    """In how many rows two runtimes differ.

    Actions and validity must be the same, continuous answers and the numbers of a memory within
    :data:`TOLERANCE`.
    """
    wrong = (wanted.action != got.action) | (wanted.valid != got.valid)
    tolerance = TOLERANCE if decode.read == "continuous" else 0.0
    wrong |= ~(np.abs(wanted.answer - got.answer) <= tolerance)
    if wanted.choice is not None and got.choice is not None:
        wrong |= wanted.choice != got.choice
    for a, b in ((wanted.hidden, got.hidden), (wanted.cell, got.cell)):
        if a is not None and b is not None:
            wrong |= ~(np.abs(a - b) <= TOLERANCE).all(axis=1)
    return int(wrong.sum())
