"""The report of a shadow: JSON and Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from quietdial.agents.shadow.replay import Shadowed
from quietdial.experiments.shadow.assemble import Chances
from quietdial.experiments.shadow.drift import FeatureDrift, RateDrift, by_hour
from quietdial.experiments.shadow.estimates import Estimate
from quietdial.experiments.stats import Interval

SCHEMA: Final = "quietdial-shadow/1"


@dataclass(frozen=True)
class Report:
    """All that a shadow found.

    Attributes:
        policy: name and id of the bundle.
        source: what was read: format, campaign, files, counts.
        guarded: whether the contract's guards were on.
        not_in_log: what the log does not say, and what was shown instead.
        days: the replayed days.
        features: drift of features.
        rates: drift of rates.
        verdict: the drift in words.
        chances: where the incumbent's probabilities come from.
        horizon_s: length of a block [s].
        estimates: one for each number of decisions.
        estimates_refused: why there are none at all; empty: there are.
        simulated: paired simulation, marked as such; None: not asked for.
    """

    policy: str
    source: dict[str, Any]
    guarded: bool
    not_in_log: list[str]
    days: list[Shadowed]
    features: list[FeatureDrift]
    rates: list[RateDrift]
    verdict: str
    chances: Chances
    horizon_s: float
    estimates: list[Estimate]
    estimates_refused: str
    simulated: dict[str, Any] | None

    @property
    def totals(self) -> dict[str, Any]:
        """Figures of all decisions together."""
        joined = {
            name: np.concatenate([getattr(day, name) for day in self.days])
            for name in ("policy", "incumbent", "mode", "lines", "lines_wanted", "guards")
        }
        joined |= {
            name: np.array([getattr(day, name).sum() for day in self.days])
            for name in ("answered", "silent", "busy_s", "available_s")
        }
        reasons = np.concatenate([day.reason for day in self.days])
        words = np.array([_kind(reason) for reason in reasons.tolist()])
        names, counts = np.unique(words[words != ""], return_counts=True)
        n = len(joined["policy"])
        return {
            "decisions": n,
            "same": float((joined["policy"] == joined["incumbent"]).mean()),
            "more": float((joined["policy"] > joined["incumbent"]).mean()),
            "fewer": float((joined["policy"] < joined["incumbent"]).mean()),
            "fallback": float((joined["mode"] != "policy").mean()),
            "fallback_reasons": {
                str(name): int(count) for name, count in zip(names, counts, strict=True)
            },
            "cut_by_guards": float((joined["guards"] != "").mean()),
            "incumbent_dials": int(joined["incumbent"].sum()),
            "lines": float(joined["lines"].mean()),
            "lines_wanted": float(joined["lines_wanted"].mean()),
            "silent_rate": float(joined["silent"].sum() / max(joined["answered"].sum(), 1.0)),
            "utilisation": float(joined["busy_s"].sum() / max(joined["available_s"].sum(), 1e-9)),
            "answered": float(joined["answered"].sum()),
        }

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        model = self.chances.model
        return {
            "schema": SCHEMA,
            "policy": self.policy,
            "source": self.source,
            "guarded": self.guarded,
            "not_in_log": self.not_in_log,
            "days": [{"label": day.label, "decisions": len(day)} for day in self.days],
            "totals": self.totals,
            "by_hour": by_hour(self.days),
            "drift": {
                "verdict": self.verdict,
                "inside": self.inside,
                "features": [dataclasses.asdict(one) for one in self.features],
                "rates": [dataclasses.asdict(one) for one in self.rates],
            },
            "off_policy": {
                "horizon_s": self.horizon_s,
                "probabilities": self.chances.source or "none",
                "model": None
                if model is None
                else {"gain_nats": model.gain, "surest": model.surest},
                "refused": self.estimates_refused,
                "estimates": [one.to_dict() for one in self.estimates],
            },
            "simulated": self.simulated,
        }

    @property
    def inside(self) -> bool:
        """Whether the days are not those of another floor than that of training."""
        return not self.verdict.startswith("another floor")

    def page(self) -> str:
        """The report as Markdown."""
        lines = [self.short_page(), "## Drift by feature", ""]
        lines += _features_table(self.features) if self.features else ["The rule sees none."]
        lines += ["", "## By hour", "", *_hours_table(self.days)]
        lines += ["", "Pictures: `lines.png`, `hours.png`, `drift.png`. Every decision with its "]
        lines[-1] += "features: `decisions.parquet`."
        return "\n".join(lines) + "\n"

    def short_page(self) -> str:
        """What matters of it, as Markdown."""
        lines = [f"# {self.policy} in the shadow of {self.source['campaign'] or 'a campaign'}", ""]
        lines += self._summary()
        lines += ["", "## What the log does not say", ""]
        lines += [f"- {text}" for text in self.not_in_log] or ["- nothing that the policy needs"]
        lines += ["", "## Drift", "", self.verdict[:1].upper() + self.verdict[1:] + ".", ""]
        lines += _rates_table(self.rates)
        lines += ["", "## What it would have been worth", "", *self._estimates()]
        if self.simulated is not None:
            lines += ["", "## In simulation", "", *_simulated(self.simulated)]
        return "\n".join(lines) + "\n"

    def _summary(self) -> list[str]:
        t = self.totals
        guards = "with the guards of its contract" if self.guarded else "alone, without guards"
        rows = [
            f"{len(self.days)} days, {t['decisions']:,} decisions at which dialing was open; the "
            f"policy {guards}. Its dials were placed nowhere.",
            "",
            "| | |",
            "|---|---|",
            f"| same number of calls | {100 * t['same']:.1f} % of decisions |",
            f"| policy places more / fewer | {100 * t['more']:.1f} % / {100 * t['fewer']:.1f} % |",
            f"| calls in flight, incumbent / wanted by the policy | {t['lines']:.2f} / "
            f"{t['lines_wanted']:.2f} |",
            f"| fallback instead of the policy | {100 * t['fallback']:.1f} % |",
            *(f"| &nbsp; {name} | {n:,} decisions |" for name, n in t["fallback_reasons"].items()),
            f"| cut by a guard | {100 * t['cut_by_guards']:.1f} % |",
            f"| recorded: silent / answered | {100 * t['silent_rate']:.2f} % of "
            f"{t['answered']:,.0f} |",
            f"| recorded: utilisation | {100 * t['utilisation']:.1f} % |",
            "",
            "Sums of dials are not compared: a call that the incumbent does not place is asked "
            "for again at the next decision. Calls in flight compare.",
        ]
        return rows

    def _estimates(self) -> list[str]:
        if self.estimates_refused:
            return [f"Not estimated: {self.estimates_refused}."]
        origin = {
            "recorded": "were recorded, so the weights are exact",
            "fitted": "were fitted (a model of what it did, on other days): the estimate is "
            "confounded where the incumbent went by what the features do not show",
        }[self.chances.source]
        rows = [
            f"The policy takes over at the start of each block of {self.horizon_s:g} s for its "
            f"first decisions, then the incumbent goes on. The incumbent's probabilities {origin}. "
            "95 % intervals; changes are policy minus incumbent on the same blocks. With fewer "
            "than 8 days an interval is for these very days, not for others.",
            "",
            "| Decisions | Blocks | Effective | Mean weight | Silent % | Change | Utilisation % "
            "| Change |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for one in self.estimates:
            first = (
                f"| {one.decisions} | {one.blocks} | {one.ess:.0f} | {one.mean_weight.value:.2f} |"
            )
            if one.refused:
                rows.append(f"{first} | | | |")
            else:
                cells = (
                    one.silent_rate,
                    one.silent_rate_change,
                    one.utilisation,
                    one.utilisation_change,
                )
                rows.append(f"{first} " + " | ".join(_percent(cell) for cell in cells) + " |")
        refused = [one for one in self.estimates if one.refused]
        if refused:
            rows.append("")
        rows += [f"- decisions {one.decisions}: {one.refused}" for one in refused]
        return rows


def _kind(reason: str) -> str:
    """A reason without its numbers."""
    head, _, rest = reason.partition(":")
    return f"{head}: {rest.split()[0]}" if head == "outside envelope" else head


def _percent(value: Interval | None) -> str:
    if value is None:
        return ""
    return f"{100 * value.value:.2f} ({100 * value.lo:.2f} to {100 * value.hi:.2f})"


def _rates_table(rates: Sequence[RateDrift]) -> list[str]:
    rows = ["| | Recorded | Training | |", "|---|---|---|---|"]
    for one in rates:
        low, high = one.trained
        word = "inside" if one.inside else "**outside**"
        rows.append(
            f"| {one.meaning} | {one.low:.3g} to {one.high:.3g} | {low:.3g} to {high:.3g} | "
            f"{word} |"
        )
    return rows


def _features_table(features: Sequence[FeatureDrift]) -> list[str]:
    rows = [
        "| Feature | Outside of training's 1 to 99 % | Stability index | Distance | Mean | "
        "In training |",
        "|---|---|---|---|---|---|",
    ]
    for one in sorted(features, key=lambda f: -(f.psi if f.psi is not None else f.outside)):
        psi = "" if one.psi is None else f"{one.psi:.3f}"
        distance = "" if one.distance is None else f"{one.distance:.3f}"
        rows.append(
            f"| {one.name} | {100 * one.outside:.1f} % | {psi} | {distance} | {one.mean:.3g} | "
            f"{one.trained:.3g} |"
        )
    return rows


def _hours_table(days: Sequence[Shadowed]) -> list[str]:
    rows = [
        "| Hour | Decisions | More % | Fewer % | Fallback % | Outside envelope % | Lines | "
        "Wanted | Answer rate % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in by_hour(days):
        shares = (one["more"], one["fewer"], one["fallback"], one["outside_envelope"])
        rows.append(
            f"| {one['hour']:02d} | {one['decisions']:,} | "
            + " | ".join(f"{100 * share:.1f}" for share in shares)
            + f" | {one['lines']:.1f} | {one['lines_wanted']:.1f} | "
            f"{100 * one['answer_rate']:.1f} |"
        )
    return rows


def _simulated(found: dict[str, Any]) -> list[str]:
    rows = [
        f"**Not the recorded days**: {found['days']} simulated days of `{found['scenario']}`, both "
        "on common random numbers, without guards. How far the scenario is like these days shows "
        "the incumbent's own row beside the recorded figures above.",
        "",
        "| | Silent % | Utilisation % |",
        "|---|---|---|",
    ]
    for name in ("policy", "incumbent", "difference"):
        found_cells = [found[name][what] for what in ("silent_rate", "utilisation")]
        cells = [_percent(Interval(c["value"], c["lo"], c["hi"], c["n"])) for c in found_cells]
        label = {"policy": found["policy_name"], "incumbent": found["incumbent_name"]}
        rows.append(f"| {label.get(name, name)} | {cells[0]} | {cells[1]} |")
    return rows
