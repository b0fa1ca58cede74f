"""`quietdial shadow`: a bundle in the shadow of recorded days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from quietdial.agents.bundle.load import Bundle
from quietdial.agents.bundle_policy import bundle_policy
from quietdial.agents.runtime.bundled import tables_of
from quietdial.agents.shadow.campaigns import campaigns_of, not_in_log
from quietdial.agents.shadow.replay import Shadowed, shadow
from quietdial.envs.dialer_logs import RecordedDays
from quietdial.envs.errors import ConfigError, MissingExtraError, RunFolderError
from quietdial.envs.loading import write_json_atomic, write_text_atomic
from quietdial.envs.scenario import Scenario
from quietdial.experiments.shadow.assemble import Chances, blocks_of, chances_of
from quietdial.experiments.shadow.drift import feature_drift, rates_drift, verdict
from quietdial.experiments.shadow.estimates import Estimate, estimate
from quietdial.experiments.shadow.report import Report

DECISIONS: Final = (1, 5, 15, 30, 60, 120)
"""The policy is in charge of so many decisions at the start of a block."""
LONGEST_INTERVAL_S: Final = 5.0
"""With rarer decisions a dialer places calls between them, which nobody decided one by one."""
_TEST_SEED: Final = 9_100_000
"""First seed of the simulated days."""


def follow(
    bundle: Bundle,
    recorded: RecordedDays,
    *,
    guarded: bool = True,
    horizon_s: float = 120.0,
    least_ess: float = 100.0,
    scenario: Scenario | None = None,
    incumbent: str | None = None,
    simulated_days: int = 16,
    report: Callable[[float], None] | None = None,
) -> Report:
    """Follow recorded days with a bundle and report.

    Args:
        bundle: a verified bundle.
        recorded: the days.
        guarded: as its contract says; else the policy alone.
        horizon_s: length of a block of the off-policy estimate [s].
        least_ess: effective blocks below which nothing is said.
        scenario: a world for a simulation beside it; None: none.
        incumbent: rule that the incumbent is in the simulation, for example `ratio:2`.
        simulated_days: days of the simulation.
        report: called with the share that is done.

    Raises:
        CalibrationError: a floor cannot be rebuilt from the log.
        ConfigError: a setting is out of range.
        PacerError: the runtime cannot play the bundle.
    """
    if not 10.0 <= horizon_s <= 3600.0:
        raise ConfigError(f"horizon = {horizon_s:g} s must lie between 10 and 3600")
    if least_ess < 2.0:
        raise ConfigError(f"least effective blocks = {least_ess:g} must be at least 2")
    if (scenario is None) != (incumbent is None):
        raise ConfigError(
            "a simulation needs both: --scenario (a preset or a calibrated file) and --incumbent "
            "(what the incumbent is there, such as theta:0.02 or ratio:2)"
        )
    tables = tables_of(bundle)
    campaigns = campaigns_of(recorded, tables)
    days: list[Shadowed] = []
    for number, campaign in enumerate(campaigns):

        def told(share: float, number: int = number) -> None:
            if report is not None:
                report((number + share) / len(campaigns))

        days += shadow(bundle, campaign, guarded=guarded, report=told)
    days = [day for day in days if len(day)]
    if not days:
        raise ConfigError("at no decision of these days was dialing open; nothing can be compared")
    features = feature_drift(days, bundle.contract)
    rates = rates_drift(recorded, days, bundle.contract, campaigns[0].n_agents)
    reasons = np.concatenate([day.reason for day in days])
    outside = float(np.char.startswith(reasons, "outside envelope").mean())
    chances, refused, estimates = _estimates(days, bundle, horizon_s, least_ess)
    simulated = None
    if scenario is not None and incumbent is not None:
        simulated = simulate_both(bundle, scenario, incumbent, simulated_days)
    return Report(
        policy=f"{bundle.manifest['name']} {bundle.bundle_id[:12]}",
        source={
            "format": recorded.format,
            "campaign": recorded.campaign,
            "files": list(recorded.files),
            "counted": dict(recorded.counted),
        },
        guarded=guarded,
        not_in_log=not_in_log(recorded, tables),
        days=days,
        features=features,
        rates=rates,
        verdict=verdict(features, rates, outside),
        chances=chances,
        horizon_s=horizon_s,
        estimates=estimates,
        estimates_refused=refused,
        simulated=simulated,
    )


def _estimates(
    days: Sequence[Shadowed], bundle: Bundle, horizon_s: float, least_ess: float
) -> tuple[Chances, str, list[Estimate]]:
    """What can be said of the policy's worth from the days alone."""
    none = Chances((), "", "")
    interval_s = days[0].interval_s
    if bundle.contract["action"]["kind"] == "vicidial_level":
        return none, "the policy answers in levels, not in calls", []
    if interval_s > LONGEST_INTERVAL_S:
        return none, f"it decides every {interval_s:g} s; dials in between have no probability", []
    if any(np.isnan(day.policy_p).any() for day in days):
        return none, "the policy draws, and its probabilities of a number are not known", []
    chances = chances_of(days)
    if chances.refused:
        return chances, chances.refused, []
    horizon = max(round(horizon_s / interval_s), 1)
    blocks = blocks_of(days, chances.of_days, horizon)
    if blocks is None:
        return chances, f"no day holds a block of {horizon_s:g} s", []
    wanted = [k for k in DECISIONS if k <= horizon]
    return chances, "", [estimate(blocks, k, least_ess) for k in wanted]


def simulate_both(
    bundle: Bundle, scenario: Scenario, incumbent: str, n_days: int
) -> dict[str, Any]:
    """Play the policy and a rule in the incumbent's place on the same simulated days.

    Args:
        bundle: the policy.
        scenario: the world, as like the recorded floor as it can be had (`quietdial calibrate`).
        incumbent: rule, see `experiments.simulate.find_policy`.
        n_days: days, at least 2.

    Returns:
        Plain values: silent rate and utilisation of both and their paired difference.
    """
    from quietdial.experiments.evaluate import play_days
    from quietdial.experiments.simulate import find_policy, policy_label
    from quietdial.experiments.stats import compare, summarise

    if n_days < 2:
        raise ConfigError(f"simulated days = {n_days} must be at least 2")
    policy, rule = bundle_policy(bundle), find_policy(incumbent)
    seeds = _TEST_SEED + np.arange(n_days, dtype=np.int64)
    mine, theirs = play_days(policy, scenario, seeds), play_days(rule, scenario, seeds)
    difference = compare(mine, theirs)

    def both(one: Any) -> dict[str, Any]:
        return {
            "silent_rate": one.silent_rate.to_dict(),
            "utilisation": one.utilisation.to_dict(),
        }

    return {
        "scenario": scenario.name,
        "days": n_days,
        "seeds": [int(seeds[0]), int(seeds[-1])],
        "policy_name": str(bundle.manifest["name"]),
        "incumbent_name": policy_label(rule),
        "policy": both(summarise(mine, scenario.rule.cap)),
        "incumbent": both(summarise(theirs, scenario.rule.cap)),
        "difference": both(difference),
    }


def write_report(found: Report, folder: Path, feature_names: Sequence[str]) -> list[Path]:
    """Write shadow.json, shadow.md, decisions.parquet and the pictures.

    Args:
        found: what was found.
        folder: an existing folder.
        feature_names: names of the policy's features.

    Raises:
        MissingExtraError: pyarrow is not installed.
        RunFolderError: a file cannot be written.
    """
    from quietdial.experiments.plots import save_png
    from quietdial.experiments.shadow.drift import by_hour
    from quietdial.experiments.shadow.picture import drift_figure, hours_figure, lines_figure

    paths = [folder / "shadow.json", folder / "shadow.md"]
    write_json_atomic(paths[0], found.to_dict())
    write_text_atomic(paths[1], found.page())
    paths.append(_write_decisions(found.days, folder / "decisions.parquet", feature_names))
    longest = max(found.days, key=len)
    paths.append(save_png(lines_figure(longest, found.policy), folder / "lines.png"))
    paths.append(save_png(hours_figure(by_hour(found.days), found.policy), folder / "hours.png"))
    if found.features:
        paths.append(save_png(drift_figure(found.features, found.policy), folder / "drift.png"))
    return paths


_COLUMNS: Final = (
    "at_ms",
    "local_s",
    "incumbent",
    "policy",
    "asked",
    "level",
    "mode",
    "reason",
    "guards",
    "incumbent_p",
    "policy_p",
    "in_flight",
    "rate",
    "present",
    "answered",
    "silent",
    "busy_s",
    "available_s",
)


def _write_decisions(days: Sequence[Shadowed], path: Path, feature_names: Sequence[str]) -> Path:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "records", "writing every decision") from error
    columns: dict[str, Any] = {
        "day": pa.array(np.repeat([day.label for day in days], [len(day) for day in days]))
    }
    for name in _COLUMNS:
        columns[name] = pa.array(np.concatenate([getattr(day, name) for day in days]))
    obs = np.concatenate([day.obs for day in days])
    for i, name in enumerate(feature_names):
        columns[f"feature_{name}"] = pa.array(obs[:, i])
    try:
        pq.write_table(pa.table(columns), path, compression="zstd")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RunFolderError(f"{path} cannot be written: {reason}") from error
    return path
