"""The programs of examples/evaluators answer every golden vector as it is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.bundle.replay import n_differences
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.experiments.studies.evaluators import PROGRAMS, answers_of, build, why_not

KINDS: dict[str, dict[str, Any]] = {
    "residual, sampled, priced": {"deployed": "sampled", "priced": True},
    "residual_choice": {"action": "residual_choice"},
    "theta": {"action": "theta"},
}


@pytest.fixture(scope="module")
def folders(
    make_policy: Callable[..., LearnedPolicy],
    bundled: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bundles")
    return {
        kind: bundled(make_policy(**settings), root / kind.replace(", ", "-"))
        for kind, settings in KINDS.items()
    }


@pytest.mark.parametrize("language", PROGRAMS)
def test_program__answers_the_golden_vectors(
    language: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    reason = why_not(language)
    if reason is not None:
        pytest.skip(reason)
    build(language, tmp_path)
    for kind, folder in folders.items():
        bundle = load_bundle(folder, unsigned=True)
        assert bundle.golden is not None
        assert bundle.policy is not None
        wanted, n = bundle.golden.answers, 400  # the edges, then days; a quarter suffices here
        vectors = tmp_path / "vectors.jsonl"
        lines = (folder / "golden.jsonl").read_bytes().splitlines(keepends=True)
        rows = np.linspace(0, len(lines) - 1, n).astype(int)
        good = int(np.flatnonzero(wanted.valid)[0])
        obs = json.dumps({"obs": json.loads(lines[good])["obs"]}).encode() + b"\n"
        vectors.write_bytes(b"".join(lines[i] for i in rows) + obs)
        got = answers_of(language, tmp_path, folder / "policy.json", vectors)
        assert n_differences(wanted.rows(rows), got.rows(slice(0, n)), bundle.policy.decode) == 0
        assert got.valid[n] == (kind == "theta")  # the others lack base value or drawn number
