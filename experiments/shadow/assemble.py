"""From replayed days to blocks that an estimate can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.shadow.replay import Shadowed
from quietdial.experiments.shadow.behaviour import CERTAIN, N_FOLDS, Behaviour, fit_behaviour
from quietdial.experiments.shadow.estimates import Blocks

CLUSTER_S: Final = 1800.0
"""Blocks of the same half-hour are one cluster where there are few days."""
LEAST_DAYS: Final = 8
"""From so many days on, a day is a cluster: its half-hours are alike."""
LEAST_CHANCE: Final = 1e-3
"""A fitted probability below this counts as this."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chances:
    """The incumbent's probabilities of what it placed.

    Attributes:
        of_days: one array for each day, (T,).
        source: "recorded", "fitted", or "" for none.
        refused: why there are none; empty: there are.
        model: what was fitted; None: nothing.
    """

    of_days: tuple[Floats, ...]
    source: str
    refused: str
    model: Behaviour | None = None


def chances_of(days: Sequence[Shadowed], *, fits: bool = True) -> Chances:
    """Where the incumbent's probabilities come from.

    Args:
        days: the replayed days.
        fits: whether a model may be fitted where none are recorded.
    """
    known = [day.incumbent_p for day in days]
    joined = np.concatenate(known)
    if np.isfinite(joined).all():
        if (joined >= 1.0).all() and not _always_agree(days):
            return Chances(
                (),
                "",
                "the incumbent never draws (all recorded probabilities are 1): where the policy "
                "does otherwise, these days cannot say what would have come of it",
            )
        return Chances(tuple(known), "recorded", "")
    if not fits:
        return Chances((), "", "the log holds no probabilities of the incumbent's decisions")
    obs = np.concatenate([day.obs for day in days])
    if not obs.shape[1] or not np.isfinite(obs).all():
        return Chances(
            (), "", "the policy saw no features at some decisions, so no model can be fitted"
        )
    placed = np.concatenate([day.incumbent for day in days])
    model = fit_behaviour(obs, placed, _folds(days))
    if model.surest >= CERTAIN:
        return Chances(
            (),
            "",
            f"the incumbent looks deterministic (a model of it is {100 * model.surest:.2f} % "
            "sure): "
            "where the policy does otherwise, these days cannot say what would have come of it",
            model,
        )
    ends = np.cumsum([len(day) for day in days])[:-1]
    parts = np.split(np.maximum(model.probability, LEAST_CHANCE), ends)
    return Chances(tuple(parts), "fitted", "", model)


def _always_agree(days: Sequence[Shadowed]) -> bool:
    return all(bool((day.policy_p >= 1.0).all()) for day in days)


def _folds(days: Sequence[Shadowed]) -> NDArray[np.int64]:
    """Whole days go to a fold; of few days, half-hours do."""
    if len(days) >= N_FOLDS:
        return np.concatenate([np.full(len(day), k % N_FOLDS) for k, day in enumerate(days)])
    return np.concatenate(
        [(day.at_ms // round(1000 * CLUSTER_S) + k) % N_FOLDS for k, day in enumerate(days)]
    )


def blocks_of(days: Sequence[Shadowed], chances: Sequence[Floats], horizon: int) -> Blocks | None:
    """Cut days into blocks of `horizon` decisions; None: no day is so long.

    A decision whose policy probability is not known (a drawn answer in other units than calls)
    makes its block worth nothing; the caller asks for policies that answer in calls.
    """
    parts: dict[str, list[Floats]] = {
        name: [] for name in ("ratio", "answered", "silent", "busy_s", "available_s")
    }
    cluster: list[NDArray[np.int64]] = []
    n_clusters = 0
    for day, chance in zip(days, chances, strict=True):
        n = len(day) // horizon
        if not n:
            continue
        used = n * horizon
        ratio = day.policy_p / chance
        for name, values in (
            ("ratio", ratio),
            ("answered", day.answered),
            ("silent", day.silent),
            ("busy_s", day.busy_s),
            ("available_s", day.available_s),
        ):
            parts[name].append(values[:used].reshape(n, horizon))
        number = (day.at_ms[:used:horizon] // round(1000 * CLUSTER_S)).astype(np.int64)
        if len(days) >= LEAST_DAYS:
            number = np.zeros_like(number)
        _, number = np.unique(number, return_inverse=True)
        cluster.append(number + n_clusters)
        n_clusters += int(number.max()) + 1
    if not cluster:
        return None
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    return Blocks(
        ratio=joined["ratio"],
        answered=joined["answered"],
        silent=joined["silent"],
        busy_s=joined["busy_s"],
        available_s=joined["available_s"],
        cluster=np.concatenate(cluster),
        interval_s=days[0].interval_s,
    )
