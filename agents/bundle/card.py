"""The card of a bundle: what it is for and what not, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card(
    name: str, contract: Mapping[str, Any], evaluation: Mapping[str, Any], *, has_table: bool
) -> str:
    """The content of card.md.

    Args:
        name: name of the policy or rule.
        contract: the manifest's contract.
        evaluation: the content of evaluation.json.
        has_table: whether a table is shipped.
    """
    where, rule, timing = contract["envelope"], contract["regulation"], contract["timing"]
    action = contract["action"]
    a_rule = contract["kind"] == "rule"
    agents = _span(where["agents"], "{:.0f}")
    lines = [
        f"# {name}",
        "",
        "## What it is",
        "",
        f"A {'hand-built rule' if a_rule else 'learned policy'} for the pacing of one outbound "
        f"campaign: asked every {timing['decision_interval_s']:g} s, it answers in "
        f"{action['unit']}: {action['meaning']}. An answer is worthless after "
        f"{timing['lease_s']:g} s.",
        "",
        "## Made for",
        "",
        f"- the world `{where['scenario']}`: {agents} agents, of whom "
        f"{_span(where['present'], '{:.0f}')} were logged in and not on break",
        f"- answer rates of {_span(where['answer_rate'], '{:.1%}')} (running estimate: "
        "answered / dialed)",
        f"- conversations with wrap-up of {_span(where['handle_s'], '{:.0f}')} s on average",
        f"- the rule {rule['id']}: at most {100 * rule['cap']:g} % of the answered silent, an "
        f"agent within {rule['wait_limit_s']:g} s of the {rule['clock'].replace('_', ' ')}",
    ]
    if where["floors"]:
        lines.append(f"- it was trained on {len(where['floors'])} floors, named in the manifest")
    lines += [
        "",
        "## Not for",
        "",
        "- floors outside of these numbers: fall back, " + contract["fallback"]["formula"],
        "- another rule on silent calls, another clock, or another decision interval",
        "- deciding whom to call, when calls are allowed, or how often: hours, quarantine and caps "
        "per person are the dialer's duty and are not in this file",
        "- keeping the cap on every single day: it was chosen to keep it on average and surely so "
        "over the judged days; a shield keeps it each day (docs/compliance.md)",
    ]
    if contract["feasible"] is False:
        lines += ["", "**INFEASIBLE: no checkpoint of its training surely kept the cap.**"]
    lines += ["", "## Measured", ""]
    figures = evaluation.get("figures", [])
    shown = [row for row in figures if _of(row, name)]
    if shown:
        days = max(row["n"] for row in shown)
        lines += [
            f"On {days} simulated days, with 95 % intervals (evaluation.json has all, and the "
            "rules for comparison):",
            "",
            "| Figure | Value | 95 % interval |",
            "|---|---|---|",
        ]
        lines += [
            f"| {row['name'].partition('/')[2] or row['name']} | {_value(row['value'], row)} | "
            f"{_value(row['lo'], row)} to {_value(row['hi'], row)} |"
            for row in shown
        ]
    else:
        lines.append("Not judged: `quietdial evaluate RUN` does it.")
    lines += [
        "",
        "## Limits",
        "",
        "- All figures are from simulation. The simulator's laws are fitted or assumed (the "
        "scenario says which); a real floor differs.",
        "- The answer depends on every feature; a feature measured otherwise than its meaning says "
        "makes the figures void.",
    ]
    if contract["recurrent"]["is"]:
        lines.append(
            "- It remembers: hand `hidden_out` and `cell_out` back as `hidden` and `cell` at the "
            "next decision of the same campaign; zeros at the opening."
        )
    if action["decode"] is not None and action["decode"]["read"] == "sample":
        lines.append(
            "- It draws its answer: `uniform` must be a new number from a good generator each time."
        )
    if action["base"] is not None:
        lines.append(
            f"- Its answer corrects the rule `marginal` at theta {action['base']['theta']:g}; "
            "without that base value (`base_dials`) it cannot be asked."
        )
    if action["unit"] == "probability":
        lines.append(
            "- Its answer is a threshold of the rule `marginal`: a dialer needs that rule to turn "
            "it into calls."
        )
    if a_rule:
        lines.append(
            "- A rule is declared here, not computed: rule.json has its formula and settings."
        )
    elif has_table:
        lines.append("- table.md is a readable stand-in, measured to be good enough.")
    else:
        lines.append("- No readable table is shipped with it.")
    return "\n".join(lines) + "\n"


def _of(row: Mapping[str, Any], name: str) -> bool:
    return str(row["name"]).partition("/")[0] == name


def _value(value: float, row: Mapping[str, Any]) -> str:
    if "per_conversation" in row["name"]:
        return f"{value:.2f}"
    return f"{100 * value:.2f} %" if row["unit"] == "1" else f"{value:.4g} {row['unit']}"


def _span(span: list[float], form: str) -> str:
    low, high = (form.format(value) for value in span)
    return low if low == high else f"{low} to {high}"
