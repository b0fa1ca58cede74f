"""How near learned policies come to the exact optimum of a Markov world, by linear algebra.

A learned policy that sees busy agents and calls in flight is a table of (b, q). :func:`judge`
evaluates that table exactly, as it is deployed (argmax) or sampled, and holds it against the
optimum of :mod:`quietdial.agents.optimal`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.optimal import CAP_RANGE, solve
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.markov import Figures, MarkovWorld, evaluate

__all__ = ["Judged", "dial_probabilities", "judge"]


class Judged(NamedTuple):
    """A policy beside the exact optimum.

    Attributes:
        figures: its exact long-run averages.
        share_at_own_rate: its utilisation / that of the optimum at the same silent rate.
        share_at_cap: its utilisation / that of the optimum at the cap.
        gap: optimum minus the policy's Lagrangian value at the optimum's multiplier.
    """

    figures: Figures
    share_at_own_rate: float
    share_at_cap: float
    gap: float


def dial_probabilities(
    policy: LearnedPolicy, n_agents: int, *, sampled: bool = False
) -> NDArray[np.float64]:
    """Probability of placing k calls at every (busy, in flight), (N + 1, 8 N + 1, K + 1).

    Dials that would lead beyond 8 N calls in flight, the most that the observation shows, count
    as none.

    Raises:
        ConfigError: the policy does not see `markov` or does not answer in `dials`.
    """
    if policy.observation != "markov" or policy.action != "dials":
        raise ConfigError(
            f"{policy.name}: a table needs observation 'markov' and action 'dials', not "
            f"{policy.observation!r} and {policy.action!r}"
        )
    busy, calls = np.meshgrid(np.arange(n_agents + 1), np.arange(8 * n_agents + 1), indexing="ij")
    shown = np.stack([busy.ravel(), calls.ravel()], axis=1) / n_agents
    logits = policy.logits(shown.astype(np.float32)).reshape(*busy.shape, -1)
    if sampled:
        p_dials = np.exp(logits - logits.max(axis=2, keepdims=True))
        p_dials /= p_dials.sum(axis=2, keepdims=True)
    else:
        p_dials = np.eye(logits.shape[2])[logits.argmax(axis=2)]
    for k in range(1, p_dials.shape[2]):
        p_dials[:, -k:, 0] += p_dials[:, -k:, k]
        p_dials[:, -k:, k] = 0.0
    return np.asarray(p_dials, np.float64)


def judge(p_dials: NDArray[np.float64], world: MarkovWorld, cap: float) -> Judged:
    """Hold a table against the exact optimum at its own silent rate and at the cap."""
    figures = evaluate(p_dials, *world)
    best = solve(*world[:4], cap, world[4], method="policy-iteration")
    own = solve(
        *world[:4],
        float(np.clip(figures.silent_rate, *CAP_RANGE)),
        world[4],
        method="policy-iteration",
    )
    price = best.multiplier_agent_s / world.n_agents
    value = figures.utilisation - price * (figures.silent_per_s - cap * figures.answered_per_s)
    return Judged(
        figures=figures,
        share_at_own_rate=figures.utilisation / own.utilisation,
        share_at_cap=figures.utilisation / best.utilisation,
        gap=best.utilisation - value,
    )
