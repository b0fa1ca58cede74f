"""How far recorded days lie from what the policy was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.shadow.replay import Shadowed
from quietdial.envs.dialer_logs import RecordedDays

Floats = NDArray[np.float64]

PSI_MUCH: Final = 0.25
"""A population stability index above it is usually taken for another distribution."""
MUCH_OUTSIDE: Final = 0.25
"""Share of decisions outside of the envelope that makes a floor another one."""
_FLOOR: Final = 1e-4
_RATES: Final = {
    "agents": ("agents on the roster", "agents"),
    "present": ("agents at work", "agents"),
    "answer_rate": ("answered / dialed of a day", "1"),
    "handle_s": ("conversation and wrap-up, mean of a day", "s"),
}


@dataclass(frozen=True)
class FeatureDrift:
    """One feature.

    Attributes:
        name: the feature.
        outside: share of decisions below the 1 % or above the 99 % quantile of training; 2 % there.
        psi: population stability index; None: the bundle does not say how training lay.
        distance: largest distance of the distribution functions at the edges of the bins
            (Kolmogorov and Smirnov's, from below); None as above.
        mean: mean of the recorded days.
        trained: mean in training.
    """

    name: str
    outside: float
    psi: float | None
    distance: float | None
    mean: float
    trained: float


@dataclass(frozen=True)
class RateDrift:
    """A rate of the recorded days beside its range in training.

    Attributes:
        name: of the contract's envelope.
        meaning: in words, with the unit.
        low: lowest of the days (of decisions, for `present`).
        high: highest.
        trained: lowest and highest in training.
        inside: whether it lies inside.
    """

    name: str
    meaning: str
    low: float
    high: float
    trained: tuple[float, float]
    inside: bool


def feature_drift(days: Sequence[Shadowed], contract: Mapping[str, Any]) -> list[FeatureDrift]:
    """Each feature of the policy, in the order of the contract."""
    obs = np.concatenate([day.obs for day in days])
    obs = obs[np.isfinite(obs).all(axis=1)]
    if not len(obs):
        return []
    out = []
    for i, feature in enumerate(contract["features"]):
        seen, x = feature["seen"], obs[:, i].astype(np.float64)
        psi, distance = _distances(x, seen.get("edges"), seen.get("shares"))
        slack = 1e-6 * max(abs(seen["p01"]), abs(seen["p99"]), 1.0)  # the contract has six digits
        outside = (x < seen["p01"] - slack) | (x > seen["p99"] + slack)
        out.append(
            FeatureDrift(
                feature["name"],
                float(outside.mean()),
                psi,
                distance,
                float(x.mean()),
                float(seen["mean"]),
            )
        )
    return out


def _distances(
    x: Floats, edges: Sequence[float] | None, shares: Sequence[float] | None
) -> tuple[float | None, float | None]:
    """(population stability index, distance of the distribution functions)."""
    if edges is None or shares is None or len(shares) != len(edges) + 1:
        return None, None
    now = np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(shares)) / len(x)
    then = np.asarray(shares, np.float64)
    a, b = np.maximum(now, _FLOOR), np.maximum(then, _FLOOR)
    psi = float(((a - b) * np.log(a / b)).sum())
    return psi, float(np.abs(np.cumsum(now - then)).max())


def rates_drift(
    recorded: RecordedDays, days: Sequence[Shadowed], contract: Mapping[str, Any], roster: int
) -> list[RateDrift]:
    """The rates that the contract's envelope has."""
    answer, handle = [], []
    for day in recorded.days:
        calls = day.calls
        people = calls["outcome"] == "person"
        answer.append(float(people.sum()) / max(len(calls), 1))
        if calls.has("talk_ms"):
            talk = calls["talk_ms"]
            done = people & (talk >= 0)
            spent = talk[done].astype(np.float64)
            if calls.has("wrap_ms"):
                spent = spent + np.maximum(calls["wrap_ms"][done], 0)
            if len(spent):
                handle.append(float(spent.mean()) / 1000.0)
    present = np.concatenate([day.present for day in days])
    spans = {
        "agents": (float(roster), float(roster)),
        "present": (float(present.min()), float(present.max())),
        "answer_rate": (min(answer), max(answer)),
    }
    if handle:
        spans["handle_s"] = (min(handle), max(handle))
    out = []
    for name, (low, high) in spans.items():
        first, last = (float(v) for v in contract["envelope"][name])
        meaning, unit = _RATES[name]
        text = meaning if unit in ("1", "agents") else f"{meaning} [{unit}]"
        inside = first * 0.999 <= low and high <= last * 1.001
        out.append(RateDrift(name, text, low, high, (first, last), inside))
    return out


def by_hour(days: Sequence[Shadowed]) -> list[dict[str, Any]]:
    """What happened in each hour of the day: disagreement, fallbacks, lines, answer rate."""
    hour = np.concatenate([day.local_s for day in days]) // 3600
    joined = {
        name: np.concatenate([getattr(day, name) for day in days])
        for name in ("policy", "incumbent", "lines", "lines_wanted", "mode", "rate", "reason")
    }
    out = []
    for h in np.unique(hour).tolist():
        mine = hour == h
        more = joined["policy"][mine] > joined["incumbent"][mine]
        fewer = joined["policy"][mine] < joined["incumbent"][mine]
        reasons = joined["reason"][mine]
        out.append(
            {
                "hour": int(h) % 24,
                "decisions": int(mine.sum()),
                "more": float(more.mean()),
                "fewer": float(fewer.mean()),
                "fallback": float((joined["mode"][mine] != "policy").mean()),
                "outside_envelope": float(np.char.startswith(reasons, "outside envelope").mean()),
                "lines": float(joined["lines"][mine].mean()),
                "lines_wanted": float(joined["lines_wanted"][mine].mean()),
                "answer_rate": float(joined["rate"][mine].mean()),
            }
        )
    return out


def verdict(features: Sequence[FeatureDrift], rates: Sequence[RateDrift], outside: float) -> str:
    """One sentence.

    Args:
        features: see `feature_drift`.
        rates: see `rates_drift`.
        outside: share of decisions at which the pacer itself fell back outside of the envelope.
    """
    wrong = [rate.name for rate in rates if not rate.inside]
    far = [f.name for f in features if f.psi is not None and f.psi > PSI_MUCH]
    far += [f.name for f in features if f.psi is None and f.outside > 0.2]
    if outside > MUCH_OUTSIDE or len(far) > len(features) / 4:
        word = "another floor than that of training"
    elif wrong or far or outside > 0.01:
        word = "near the floor of training, not inside it"
    else:
        word = "like the floor of training"
    parts = [word]
    if wrong:
        parts.append("outside of the envelope: " + ", ".join(wrong))
    if far:
        more = "" if len(far) <= 6 else f" and {len(far) - 6} more"
        parts.append("features that lie otherwise: " + ", ".join(far[:6]) + more)
    if outside > 0:
        parts.append(f"the pacer would fall back at {100 * outside:.2g} % of decisions for it")
    return "; ".join(parts)
