"""Say what a policy or rule is, in the words of the manifest."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.evaluate import Decode
from quietdial.agents.bundle.replay import MARGIN
from quietdial.agents.bundle.sources import source_of
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import RESIDUAL_OFFSET, LearnedAction, log_multiplier
from quietdial.agents.rules.base import PRIVILEGED, Rule
from quietdial.envs.errors import ExportError
from quietdial.envs.pacing.control import THETAS
from quietdial.envs.pacing.params import knowledge_parts, n_lines
from quietdial.envs.pacing.spec import N_LEVELS, N_RESIDUALS
from quietdial.envs.scenario import Scenario

Span = tuple[float, float]

MOST_ANSWER: Final = 4096.0
"""No bundle answers a larger number."""


COLD_START: Final = 50
"""Answered calls of a window until which a dialer paces progressively: before, its answer rate and
its silent rate are mostly prior. The features' own prior weighs 50 calls."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What simulated days of the training world showed, with the policy in charge.

    Attributes:
        obs: float32 (n, F), n >= 1, observations.
        present: fewest and most agents logged in and not on break.
        answer_rate: lowest and highest running estimate of answered / dialed.
        handle_s: lowest and highest mean of conversation and wrap-up of a day.
        agents: fewest and most agents of the floors; None: those of the scenario.
    """

    obs: NDArray[np.float32]
    present: Span
    answer_rate: Span
    handle_s: Span
    agents: tuple[int, int] | None = None


_UNITS: Final[dict[LearnedAction, tuple[str, str]]] = {
    "residual": ("new calls", "place so many calls now"),
    "residual_choice": (
        "new calls",
        "place so many calls now, to the leads that `choice` says: 0 the next of the list, 1 the "
        "likeliest, 2 the least likely to answer, 3 call by call as the rule `marginal` chooses",
    ),
    "dials": ("new calls", "place so many calls now"),
    "threshold": (
        "probability",
        "threshold of the rule `marginal` until the next answer: the base rule with this theta "
        "says how many calls to place",
    ),
    "theta": (
        "probability",
        "threshold of the rule `marginal` until the next answer: the base rule with this theta "
        "says how many calls to place",
    ),
    "vicidial_level": (
        "lines per agent",
        "write it as auto_dial_level of a campaign with dial_method RATIO",
    ),
}


def why_not_exportable(policy: LearnedPolicy) -> str | None:
    """Why a policy cannot be exported, in one line; None if it can."""
    knowledge = policy.spec.knowledge
    if any(part in PRIVILEGED for part in knowledge_parts(knowledge)):
        return f"{policy.name}: it goes by {knowledge!r}, hidden truth that no dialer can know"
    return None


def decode_of(policy: LearnedPolicy) -> Decode:
    """How the network's numbers become the answer."""
    spec = policy.spec
    read: Any = "sample" if policy.deployed == "sampled" else "argmax"
    most, actions = float(spec.max_dials), range(spec.n_actions)
    if spec.action == "theta" and spec.theta_range is not None:
        low, high = spec.theta_range
        return Decode(
            "continuous",
            low=0.0,
            high=1.0,
            invalid=0.0,
            log_low=math.log(low),
            log_ratio=math.log(high / low),
            scale=policy.theta_scale,
        )
    if spec.action == "threshold":
        table = tuple(float(np.minimum(theta * policy.theta_scale, 1.0)) for theta in THETAS)
        return Decode(read, low=0.0, high=1.0, invalid=0.0, table=table)
    if spec.action == "vicidial_level":
        levels = tuple(1.0 + a / 4.0 for a in actions)
        return Decode(read, low=1.0, high=1.0 + (N_LEVELS - 1) / 4.0, invalid=1.0, table=levels)
    if spec.action == "dials":
        return Decode(read, low=0.0, high=most, invalid=0.0, table=tuple(map(float, actions)))
    table = tuple(float(a % N_RESIDUALS + RESIDUAL_OFFSET) for a in actions)
    choices = tuple(a // N_RESIDUALS for a in actions) if spec.action == "residual_choice" else ()
    return Decode(read, low=0.0, high=most, invalid=0.0, table=table, base=True, choices=choices)


def contract_of(policy: LearnedPolicy, scenario: Scenario, seen: Seen) -> dict[str, Any]:
    """The contract of a learned policy.

    Args:
        policy: the policy.
        scenario: the world that it was trained in.
        seen: what its days showed.

    Raises:
        ExportError: the policy is of a kind that is not exported.
    """
    reason = why_not_exportable(policy)
    if reason is not None:
        raise ExportError(reason)
    spec = policy.spec
    quantiles = np.quantile(seen.obs.astype(np.float64), (0.01, 0.99), axis=0)
    features = [
        {
            "name": feature.name,
            "index": i,
            "unit": feature.unit,
            "dtype": "float32",
            "low": feature.low,
            "high": feature.high,
            "meaning": feature.meaning,
            "sources": source_of(feature.name).to_dict(),
            "missing": "fallback",
            "seen": {
                "mean": _short(seen.obs[:, i].mean(dtype=np.float64)),
                "std": _short(seen.obs[:, i].std(dtype=np.float64)),
                "p01": _within(quantiles[0, i], feature.low, feature.high),
                "p99": _within(quantiles[1, i], feature.low, feature.high),
                **_distribution(seen.obs[:, i]),
            },
        }
        for i, feature in enumerate(spec.features)
    ]
    decode = decode_of(policy)
    unit, meaning = _UNITS[spec.action]
    size = 0 if policy.memory is None else policy.memory.size
    price = policy.multiplier
    selection = policy.selection
    return {
        "kind": "policy",
        "algorithm": policy.name,
        "observation": spec.observation,
        "knowledge": spec.knowledge,
        "recurrent": {"is": size > 0, "size": size},
        "features": features,
        "normalisation": {
            "kind": "none",
            "note": "features are scaled by construction; the network reads them as they are",
        },
        "log_price": None if price is None else float(log_multiplier(price)),
        "action": {
            "kind": spec.action,
            "unit": unit,
            "meaning": meaning,
            "highest": decode.high,
            "decode": decode.to_dict(),
            "base": _base(policy.base_theta) if decode.base else None,
            "ties": "first",
            "margin": MARGIN,
        },
        "feasible": None if selection is None else bool(selection["feasible"]),
        **_obligations(scenario, spec.decision_interval_s, seen),
        "envelope": _envelope(scenario, seen, spec.floors),
    }


def _distribution(values: NDArray[np.float32]) -> dict[str, list[float]]:
    """Where a feature lay: edges at its deciles, and the share in each bin between them.

    Edges are values that were seen, to the last bit: many features take a few values only.
    """
    x = values.astype(np.float64)
    deciles = np.quantile(x, np.arange(1, 10) / 10, method="inverted_cdf")
    edges = sorted({float(q) for q in deciles})
    bins = np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(edges) + 1)
    return {"edges": edges, "shares": [_short(share) for share in bins / len(x)]}


def _base(theta: float) -> dict[str, Any]:
    return {"rule": "marginal", "theta": theta, "input": "base_dials"}


def rule_contract(rule: Rule, scenario: Scenario, seen: Seen) -> dict[str, Any]:
    """The contract of a hand-built rule, declared for a world (`ExportError`: privileged)."""
    card = rule.card
    if card.privileged:
        raise ExportError(
            f"{rule.name}: sees hidden truth, so no dialer can run it; it is for comparison"
        )
    return {
        "kind": "rule",
        "algorithm": rule.name,
        "observation": "none",
        "knowledge": getattr(rule, "knowledge", "believed"),
        "recurrent": {"is": False, "size": 0},
        "features": [],
        "normalisation": {"kind": "none", "note": "a rule has no network"},
        "log_price": None,
        "action": {
            "kind": "rule",
            "unit": "new calls",
            "meaning": "place the calls that the formula in rule.json asks for",
            "highest": min(float(n_lines(scenario)), MOST_ANSWER),
            "decode": None,
            "base": None,
            "ties": "first",
            "margin": 0.0,
        },
        "feasible": None,
        **_obligations(scenario, scenario.episode.decision_interval_s, seen),
        "envelope": _envelope(scenario, seen, ()),
    }


def rule_json(rule: Rule, scenario: Scenario) -> dict[str, Any]:
    """The content of rule.json: formula and settings of a rule as it would run on this floor."""
    card = rule.card
    options = {
        key: value
        for key, value in rule.world_options.items()
        if isinstance(value, str | bool | int | float)
    }
    return {
        "format": "quietdial-rule/2",
        "name": rule.name,
        "rule": type(rule).__name__,
        "formula": inspect.getdoc(type(rule)) or "",
        "settings": [
            {
                "name": s.name,
                "unit": s.unit,
                "value": float(value),
                "low": s.low,
                "high": s.high,
                "meaning": s.meaning,
            }
            for s, value in zip(card.settings, card.values, strict=True)
        ],
        "knob": rule.knob_name,
        "options": options,
        "tick_s": card.tick_s or scenario.episode.decision_interval_s,
        "event": card.event,
        "sees": list(card.sees),
        "unit": "new calls to place now",
    }


def _obligations(scenario: Scenario, interval_s: float, seen: Seen) -> dict[str, Any]:
    """What holds for any bundle of a world: timing, regulation, fallback, guards."""
    rule = scenario.rule
    counts = {"cut": rule.counts_cut, "left": rule.counts_left, "amd": rule.counts_amd}
    return {
        "timing": {
            "decision_interval_s": interval_s,
            "max_observation_age_s": max(2.0 * interval_s, 2.0),
            "lease_s": max(3.0 * interval_s, 3.0),
            "clock_skew_s": 0.5,
        },
        "regulation": {
            "id": rule.id,
            "title": rule.title,
            "country": rule.country,
            "cap": rule.cap,
            "windows": [
                {"kind": window.kind, "length": window.length, "cap": window.cap}
                for window in rule.all_windows
            ],
            "numerator": [cause for cause, counted in counts.items() if counted],
            "denominator": "answered",
            "clock": rule.clock,
            "wait_limit_s": rule.wait_limit_s,
            "at_limit": rule.at_limit,
            "quarantine_s": rule.quarantine_s,
            "min_ring_s": rule.min_ring_s,
            "max_ring_s": rule.max_ring_s,
            "retention_s": rule.retention_s,
            "source": rule.source,
        },
        "fallback": {
            "mode": "progressive",
            "formula": "new calls = max(0, idle agents - calls in flight - waiting callees); as a "
            "threshold 0, as a level 1.0",
            "when": "valid is false; features older than max_observation_age_s or from the future "
            "by more than clock_skew_s; outside the envelope; a guard; no answer within the lease",
        },
        "guards": {
            "min_agents": max(int(seen.present[0]), 1),
            "silent_rate_max": rule.cap,
            "cold_start_answered": COLD_START,
        },
    }


def _envelope(scenario: Scenario, seen: Seen, floors: tuple[str, ...]) -> dict[str, Any]:
    n = scenario.floor.n_agents
    ring_s = scenario.calls.time_to_answer.sampled_mean_s()
    return {
        "scenario": scenario.name,
        "floors": list(floors),
        "agents": list(seen.agents or (n, n)),
        "present": [_short(value) for value in seen.present],
        "answer_rate": [_short(value) for value in seen.answer_rate],
        "handle_s": [_short(value) for value in seen.handle_s],
        "ring_s": [_short(ring_s)] * 2,
        "lines_max": n_lines(scenario),
    }


def _short(value: float) -> float:
    """Six digits: a description, not a parameter."""
    return float(f"{float(value):.6g}")


def _within(value: float, low: float, high: float) -> float:
    return min(max(_short(value), low), high)
