"""Bundles to serve: a network of the usual size, its weights drawn, since only serving is tried."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from quietdial.agents.bundle.describe import Seen
from quietdial.agents.bundle.write import Distilled, write_policy
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import LearnedAction, PolicySpec
from quietdial.envs.pacing.control import THETAS
from quietdial.envs.pacing.spec import N_LEVELS, observation_fields
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.export import distilled_tree

SCENARIO = "italy-50"
_WIDTH = 64
_SEEN = 256


def make_bundle(
    out: Path, seed: int, action: LearnedAction = "dials", *, table: bool = False
) -> Path:
    """Write an unsigned bundle of a policy with drawn weights over the observation `counters`.

    Args:
        out: the folder.
        seed: seed of the weights.
        action: kind of action, `dials`, `vicidial_level` or `threshold`.
        table: whether it ships a distilled table, of eight rules.
    """
    scenario = load_scenario(SCENARIO)
    fields = observation_fields("counters")
    n_actions = {
        "dials": scenario.max_dials + 1,
        "vicidial_level": N_LEVELS,
        "threshold": len(THETAS),
    }[action]
    spec = PolicySpec.of(
        scenario, observation="counters", action=action, fields=fields, n_actions=n_actions
    )
    rng = np.random.default_rng(seed)
    sizes = [len(fields), _WIDTH, _WIDTH, n_actions]
    layers = tuple(
        Layer(
            rng.normal(0, a**-0.5, (a, b)).astype(np.float32).astype(np.float64),
            rng.normal(0, 0.3, b).astype(np.float32).astype(np.float64),
        )
        for a, b in itertools.pairwise(sizes)
    )
    policy = LearnedPolicy(layers, spec, training={"config": {"seed": seed}})
    obs = np.stack([rng.uniform(f.low, f.high, _SEEN) for f in fields], 1).astype(np.float32)
    seen = Seen(obs, present=(1.0, 50.0), answer_rate=(0.2, 0.4), handle_s=(100.0, 300.0))
    shipped = None
    if table:
        shipped = Distilled(distilled_tree(policy, obs, 8), {"figures": [], "tolerance": "none"})
    return write_policy(policy, scenario, out, seen=seen, table=shipped, vectors=200)
