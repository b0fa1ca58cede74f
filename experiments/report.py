"""What the judge found, in words, as a table and as files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from quietdial.agents.wrapped import shown_name
from quietdial.envs.loading import write_json_atomic, write_text_atomic
from quietdial.experiments.evaluate import Tuned, Verdict
from quietdial.experiments.selection import Selection
from quietdial.experiments.selection import sentence as selection_sentence
from quietdial.experiments.wording import plus_minus, points, significance

COLUMNS = (
    "policy",
    "knob",
    "utilisation [%]",
    "conversations per agent-h",
    "silent per answered [%]",
    "days above cap [%]",
)


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """The table's rows as text, the judged policy first; the last column is it minus the row's."""
    first = verdict.summaries[0].name
    result: list[tuple[str, ...]] = []
    for row, item in zip(verdict.summaries, verdict.tuned, strict=True):
        gap = ""
        if row.name != first:
            gap = plus_minus(verdict.difference(row.name).utilisation, sign="+")
        result.append(
            (
                shown_name(item.policy),
                "-" if row.knob is None else f"{row.knob_name} {row.knob:.4g}",
                plus_minus(row.utilisation),
                plus_minus(row.conversations_per_agent_h, scale=1.0),
                plus_minus(row.silent_rate),
                plus_minus(row.p_day_breaks_cap, digits=0),
                gap,
            )
        )
    return result


def _cap(cap: float) -> str:
    return f"cap {100 * cap:g} %" if cap < 1.0 else "no cap"


def table(verdict: Verdict) -> Table:
    """The judge's table for a terminal of 80 columns or more."""
    n_days = verdict.summaries[0].utilisation.n
    shown = Table(
        title=f"{verdict.scenario}: {n_days} test days, every knob tuned to "
        f"{100 * verdict.target_rate:.2f} % silent ({_cap(verdict.cap)})",
        caption="95 % intervals over days. Last column: points of utilisation, paired by day.",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in (
        "policy",
        "utilisation\n%",
        "conversations\nper agent-h",
        "silent per\nanswered %",
    ):
        shown.add_column(name)
    shown.add_column("days above\nthe cap %")
    shown.add_column(f"{verdict.summaries[0].name}\nminus this")
    for name, knob, *cells, days, gap in rows(verdict):
        shown.add_row(f"{name}\n[dim]{knob}[/]", *cells, days.replace(" (", "\n("), gap)
    return shown


def candidates_table(selection: Selection) -> Table:
    """The checkpoints among which one was chosen, for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("decisions", "utilisation\n%", "silent per\nanswered %", "days above\nthe cap %"):
        shown.add_column(name)
    shown.add_column("")
    for one in selection.candidates:
        row = one.summary
        said = "feasible" if one.feasible else "infeasible"
        shown.add_row(
            f"{one.step:,}",
            plus_minus(row.utilisation),
            plus_minus(row.silent_rate),
            plus_minus(row.p_day_breaks_cap, digits=0),
            f"{said}, chosen" if one is selection.chosen else said,
        )
    return shown


def _markdown_table(verdict: Verdict) -> str:
    head = (*COLUMNS, f"{verdict.summaries[0].name} minus this [points]")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows(verdict)]
    return "\n".join(lines)


def sentences(verdict: Verdict) -> list[str]:
    """The verdict in plain sentences."""
    judged = verdict.summaries[0]
    upper = 100 * judged.silent_rate_upper
    met = f"{'meets' if judged.meets_cap else 'DOES NOT MEET'} the cap of {100 * verdict.cap:g} %"
    alone = f"{judged.p_day_breaks_cap.text(digits=0)} of the days alone are above the cap."
    if verdict.cap >= 1.0:
        met, alone = "is under a rule without a cap", "no day can be above it."
    if not verdict.days[0].days["answered"].any():
        return [f"{judged.name}: nobody answered on the test days, so there is nothing to judge."]
    lines = [
        f"{judged.name} {met}: silent rate {judged.silent_rate.text(digits=2)}, upper 95 % limit "
        f"{upper:.2f} %; {alone}"
    ]
    selection = getattr(verdict.tuned[0].policy, "selection", None)
    if selection is not None:
        lines.insert(0 if not selection["feasible"] else 1, selection_sentence(selection))
    first = verdict.tuned[0]
    limit = verdict.cap if verdict.cap < 1.0 else verdict.target_rate
    others = zip(verdict.tuned[1:], verdict.summaries[1:], verdict.at_equal_rate, strict=True)
    for item, row, equal in others:
        gap = verdict.difference(row.name).utilisation
        same = item.reached and abs(item.tuning_rate - first.tuning_rate) < 0.05 * limit
        rate = "tuned to the same" if same else "at its own"
        line = (
            f"Utilisation {points(gap)} points: {significance(gap)} {row.name} {rate} silent rate "
            f"({100 * row.silent_rate.value:.2f} % on these days)"
        )
        if equal is not None:
            line += f"; moved to exactly the same rate: {points(equal)}"
        lines.append(line + ".")
    return lines


def markdown(verdict: Verdict, command: str) -> str:
    """The verdict as a Markdown page."""
    text = "\n".join(f"- {line}" for line in sentences(verdict))
    seeds = verdict.days[0].seeds
    return (
        f"# Verdict: {verdict.summaries[0].name} on {verdict.scenario}\n\n{text}\n\n"
        f"{_markdown_table(verdict)}\n\n"
        f"{len(seeds)} test days, seeds {int(seeds[0])} to {int(seeds[-1])}; 95 % intervals over "
        f"days; knobs tuned on other days to {100 * verdict.target_rate:.2f} % silent.\n\n"
        f"Made by: `{command}`\n"
    )


def _tuning(item: Tuned) -> dict[str, Any]:
    return {
        "policy": item.policy.name,
        "knob_name": item.policy.knob_name,
        "knob": item.policy.knob,
        "tuning_silent_rate": item.tuning_rate,
        "reached": item.reached,
        "sweep": [
            {"knob": knob, "silent_rate": rate, "utilisation": utilisation}
            for knob, rate, utilisation in item.sweep
        ],
    }


def figures(verdict: Verdict) -> list[dict[str, Any]]:
    """Every figure of every policy and difference: name, value, unit, lo, hi, n, note."""
    best, over_best = verdict.over_best_rule()
    return [
        *(figure for row in verdict.summaries for figure in row.figures()),
        *(figure for row in verdict.differences for figure in row.figures()),
        *(
            {
                "name": f"{row.a} minus {row.b}/utilisation at equal silent rate",
                "unit": "1",
                "note": "paired by day, moved along the other's knob",
                **equal.to_dict(),
            }
            for row, equal in zip(verdict.differences, verdict.at_equal_rate, strict=True)
            if equal is not None
        ),
        {
            "name": f"{verdict.summaries[0].name} minus best rule/utilisation",
            "unit": "1",
            "note": f"{best}, paired by day, at equal silent rate where its knob allows",
            **over_best.to_dict(),
        },
    ]


def to_json(verdict: Verdict, extra: dict[str, Any]) -> dict[str, Any]:
    """The verdict as a result file (`conventions`: schema, name, command, ..., figures)."""
    seeds = verdict.days[0].seeds
    return {
        "schema": "quietdial-result/1",
        "name": "evaluation",
        **extra,
        "scenario": verdict.scenario,
        "cap": verdict.cap,
        "target_rate": verdict.target_rate,
        "selection": getattr(verdict.tuned[0].policy, "selection", None),
        "seeds": [int(seed) for seed in seeds],
        "tuning": [_tuning(item) for item in verdict.tuned],
        "figures": figures(verdict),
    }


def _csv(head: tuple[str, ...], lines: list[tuple[Any, ...]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return buffer.getvalue()


def summary_csv(verdict: Verdict) -> str:
    """One line for each figure: policy, figure, value, lower and upper end, unit, days."""
    lines = [
        (
            *figure["name"].rsplit("/", 1),
            figure["value"],
            figure["lo"],
            figure["hi"],
            figure["unit"],
            figure["n"],
        )
        for figure in figures(verdict)
    ]
    return _csv(("policy", "figure", "value", "lo", "hi", "unit", "n"), lines)


def days_csv(verdict: Verdict) -> str:
    """One line for each policy and day: the day's totals."""
    names = tuple(verdict.days[0].days)
    lines = [
        (item.name, int(seed), *(float(item.days[name][d]) for name in names))
        for item in verdict.days
        for d, seed in enumerate(np.asarray(item.seeds))
    ]
    return _csv(("policy", "seed", *names), lines)


def write(verdict: Verdict, folder: Path, extra: dict[str, Any], command: str) -> None:
    """Write evaluation.json, evaluation.csv, days.csv, evaluation.png and verdict.md."""
    from quietdial.experiments import plots

    write_json_atomic(folder / "evaluation.json", to_json(verdict, extra))
    write_text_atomic(folder / "evaluation.csv", summary_csv(verdict))
    write_text_atomic(folder / "days.csv", days_csv(verdict))
    write_text_atomic(folder / "verdict.md", markdown(verdict, command))
    plots.save_png(frontier(verdict), folder / "evaluation.png")


def frontier(verdict: Verdict) -> Any:
    """The picture of throughput against silent rate, with the tuning sweeps as curves."""
    from quietdial.experiments import plots

    points = [plots.FrontierPoint.of(row) for row in verdict.summaries]
    curves = {
        item.policy.name: [(rate, utilisation) for _, rate, utilisation in item.sweep]
        for item in verdict.tuned
        if len(item.sweep) > 1
    }
    subtitle = f"{verdict.scenario}, {verdict.summaries[0].utilisation.n} test days, 95 % intervals"
    return plots.frontier_figure(points, cap=verdict.cap, curves=curves, subtitle=subtitle)
