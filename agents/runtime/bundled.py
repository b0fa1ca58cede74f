"""A pacer out of a verified bundle: its contract says how the pacer behaves."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from quietdial.agents.bundle.load import Bundle
from quietdial.agents.runtime.decision import Envelope, PacerSettings
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.evaluator import (
    BundleEvaluator,
    Evaluator,
    MarginalEvaluator,
    RatioEvaluator,
    Source,
)
from quietdial.agents.runtime.ledger_protocol import Ledger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.runtime.shield import ShieldSettings
from quietdial.agents.runtime.tables import FILE, PacingTables, tables_of_json

ENVELOPE_SLACK = 0.25
"""Share by which a floor may lie outside of what was seen in training. A day's mean answer rate was
seen; the estimate of a moment swings more."""


def tables_of(bundle: Bundle) -> PacingTables:
    """What a bundle knows of its floor.

    Raises:
        PacerError: it has no pacing.json, because its policy goes by more than a dialer believes.
    """
    if FILE not in bundle.files:
        raise PacerError(
            f"{bundle.manifest['name']}: has no {FILE}; it goes by "
            f"{bundle.contract['knowledge']!r}, for which the pacer has no features"
        )
    return tables_of_json(bundle.files[FILE])


def settings_of(bundle: Bundle) -> PacerSettings:
    """Lease, ages, cold start, least agents and envelope as the contract says.

    Where the rule has no limit on the silent rate there is nothing for a shield to keep.
    """
    contract = bundle.contract
    timing, guards, envelope = contract["timing"], contract["guards"], contract["envelope"]
    return PacerSettings(
        lease_ms=round(1000 * timing["lease_s"]),
        max_age_ms=round(1000 * timing["max_observation_age_s"]),
        skew_ms=round(1000 * timing["clock_skew_s"]),
        cold_start_answered=int(guards["cold_start_answered"]),
        min_agents=int(guards["min_agents"]),
        shield=ShieldSettings() if contract["regulation"]["cap"] < 1.0 else None,
        envelope=Envelope(
            agents=_range(envelope["agents"]),
            present=_range(envelope["present"]),
            answer_rate=_range(envelope["answer_rate"]),
            slack=ENVELOPE_SLACK,
        ),
    )


def _range(pair: Any) -> tuple[float, float]:
    low, high = pair
    return float(low), float(high)


def policy_of(bundle: Bundle, *, onnx: bool = False, seed: int = 0) -> Evaluator:
    """Who answers.

    Args:
        bundle: a policy, or one of the rules that the runtime plays: marginal and progressive.
        onnx: by onnxruntime; else by numpy.
        seed: of the draws of a sampled policy.

    Raises:
        PacerError: a rule that is played by the product it comes from.
    """
    if bundle.policy is None:
        return _rule_of(bundle)
    source: Source = bundle.session() if onnx else bundle.policy
    return _evaluator(bundle, source, bundle.policy.memory is not None, seed)


def table_of(bundle: Bundle) -> Evaluator | None:
    """The distilled table, if the bundle has one."""
    return None if bundle.table is None else _evaluator(bundle, bundle.table, False, 0)


def _evaluator(bundle: Bundle, source: Source, remembers: bool, seed: int) -> BundleEvaluator:
    contract, policy = bundle.contract, bundle.policy
    if policy is None:
        raise PacerError(f"{bundle.manifest['name']}: a rule has no network")
    base = contract["action"]["base"]
    return BundleEvaluator(
        source,
        f"{bundle.manifest['name']} {bundle.bundle_id[:12]}",
        contract["observation"],
        contract["action"]["kind"],
        policy.decode,
        base_theta=None if base is None else float(base["theta"]),
        memory=int(contract["recurrent"]["size"]) if remembers else 0,
        seed=seed,
    )


def _rule_of(bundle: Bundle) -> Evaluator:
    rule = json.loads(bundle.files["rule.json"])
    name = f"{rule['name']} {bundle.bundle_id[:12]}"
    settings = {one["name"]: float(one["value"]) for one in rule["settings"]}
    if rule["rule"] == "Marginal" and "theta" in settings:
        return MarginalEvaluator(float(np.float32(settings["theta"])), name)  # as it was judged
    if rule["rule"] == "Progressive":
        return RatioEvaluator(1.0, name)
    raise PacerError(
        f"rule {rule['name']!r} is played by the product that it comes from; the pacer plays "
        "'marginal' and 'progressive'"
    )


def pacer_of(
    bundle: Bundle,
    ledger: Ledger,
    *,
    n_agents: int | None = None,
    onnx: bool = False,
    seed: int = 0,
    **changes: Any,
) -> Pacer:
    """A pacer that plays a bundle as its contract says.

    Args:
        bundle: a verified bundle (`quietdial.agents.bundle.load.load_bundle`).
        ledger: counts that outlive a crash.
        n_agents: agents of the roster; None: as in training.
        onnx: evaluate the network by onnxruntime instead of numpy.
        seed: of the draws of a sampled policy.
        changes: fields of `PacerSettings` that differ from the contract: the operator's.

    Raises:
        PacerError: the runtime cannot play it.
    """
    return Pacer(
        tables_of(bundle),
        policy_of(bundle, onnx=onnx, seed=seed),
        ledger,
        dataclasses.replace(settings_of(bundle), **changes),
        table=table_of(bundle),
        n_agents=n_agents,
    )
