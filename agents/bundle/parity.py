"""The comparison without which nothing is exported: the policy as judged, and its runtimes."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

from quietdial.agents.bundle.evaluate import Answers, Inputs, PlainPolicy
from quietdial.agents.bundle.replay import n_differences
from quietdial.agents.bundle.session import Session
from quietdial.agents.bundle.vectors import sample_inputs
from quietdial.agents.chance import draw, hash_of
from quietdial.agents.learned_policy import LearnedPolicy, Recall
from quietdial.envs.errors import ExportError, MissingExtraError

try:
    import onnxruntime
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("onnxruntime", "export", "exporting a policy") from error


def check_parity(
    policy: LearnedPolicy, plain: PlainPolicy, graph: bytes, seed: int, n: int
) -> dict[str, Any]:
    """Compare the policy as it was judged, the numpy evaluator and onnxruntime.

    Returns:
        The object `parity` of the manifest.

    Raises:
        ExportError: they differ on one vector or more.
    """
    inputs = sample_inputs(plain, seed, n)
    if inputs.uniform is not None:  # the numbers that the policy itself would draw
        own, _ = draw(np.full(n, policy.seed, np.uint64), hash_of(inputs.obs))
        drawn = np.arange(n) < n // 2
        inputs = inputs._replace(uniform=np.where(drawn, own, inputs.uniform))
    wanted = plain.answer(inputs)
    session = Session(graph, plain)
    worst = 0.0
    # the whole at once, then the last rows (broken ones too) in small batches as a dialer asks
    for size, first in ((n, 0), (64, n - 64), (3, n - 63), (1, n - 20)):
        for start in range(first, n, size):
            rows = slice(start, start + size)
            here = wanted.rows(rows)
            got = session.answer(inputs.rows(rows))
            wrong = n_differences(here, got, plain.decode)
            if wrong:
                raise ExportError(
                    f"onnxruntime and numpy disagree on {wrong} of {len(here.answer)} vectors; "
                    "nothing exported"
                )
            worst = max(worst, float(np.abs(here.answer - got.answer).max()))
    own_rows = np.flatnonzero(wanted.valid & (np.arange(n) < n // 2))
    wrong = _own_differences(policy, inputs.rows(own_rows), wanted.rows(own_rows))
    if wrong:
        raise ExportError(
            f"the policy as it was judged and its export disagree on {wrong} of {len(own_rows)} "
            "vectors; nothing exported"
        )
    return {
        "vectors": n,
        "invalid": int((~wanted.valid).sum()),
        "mismatches": 0,
        "max_difference": worst,
        "seed": seed,
        "runtimes": {
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
            "the policy as it was judged": version("quietdial"),
        },
    }


def _own_differences(policy: LearnedPolicy, inputs: Inputs, wanted: Answers) -> int:
    """In how many rows the policy itself acts otherwise."""
    state = None
    if policy.memory is not None or policy.deployed == "sampled":
        past = np.full(len(inputs.obs), policy.seed, np.uint64)
        state = Recall(inputs.hidden, inputs.cell, past)
    acted, _ = policy.act(inputs.obs, state)
    if policy.action == "theta":
        return int((~(np.abs(acted[:, 0] - wanted.answer) <= 1e-9)).sum())
    return int((acted != wanted.action).sum())
