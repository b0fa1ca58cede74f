"""What keeps the cap on every day, and what it costs: the result `compliance`.

Days of 8 hours in the study's world, at least 1,000 for every setting: rules without a shield, with
the borrowing and with the deterministic one, policies that dial everything or at random behind the
deterministic one, and worlds in which a condition of its theorem fails, the excess told by cause.
Who plays where: protected.py. Trained policies, and the loop that plans: budget_plan.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from quietdial.agents.policy import Policy
from quietdial.envs.loading import write_json_atomic, write_text_atomic
from quietdial.envs.scenario import Scenario
from quietdial.experiments.bench.results import by_subject, figure, put_figures, result_file
from quietdial.experiments.evaluate import play_days, test_seeds
from quietdial.experiments.rundir import make_folder
from quietdial.experiments.stats import (
    PolicyDays,
    clopper_pearson,
    mean_interval,
    paired_difference,
    ratio_interval,
)
from quietdial.experiments.studies.paired import fingerprint
from quietdial.experiments.studies.protected import Setting, settings

NAME: Final = "compliance"
PAGE: Final = Path("docs/compliance.md")
"""Page whose table is made from the result, if it is there."""
N_DAYS: Final = 1000
N_TUNE_DAYS: Final = 96


def played(
    policy: Policy, scenario: Scenario, seeds: NDArray[np.int64], work: Path | None
) -> PolicyDays:
    """Play days, or take them from the work folder if they were played there.

    Args:
        policy: who decides.
        scenario: the world.
        seeds: consecutive seeds of the days, (D,).
        work: folder that keeps the totals of the days; None: nothing is kept.
    """
    sha = fingerprint(policy, scenario, seeds=[int(seeds[0]), len(seeds)])
    path = None if work is None else work / f"{sha}.json"
    if path is not None and path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        totals = {name: np.array(values) for name, values in kept.items()}
        return PolicyDays(policy.name, policy.knob_name, policy.knob, seeds, totals)
    days = play_days(policy, scenario, seeds, batch=250)
    if path is not None:
        make_folder(path.parent)
        plain = {name: values.tolist() for name, values in days.days.items()}
        write_text_atomic(path, json.dumps(plain, allow_nan=False) + "\n")
    return PolicyDays(policy.name, policy.knob_name, policy.knob, seeds, days.days)


def play_setting(
    setting: Setting, seeds: NDArray[np.int64], work: Path | None
) -> tuple[PolicyDays, list[float]]:
    """The days of a setting, shared out evenly among its policies in their order.

    Returns:
        All days, and the mean utilisation of each policy on its share.
    """
    parts = [
        played(policy, setting.scenario, share, work)
        for policy, share in zip(
            setting.policies, np.array_split(seeds, len(setting.policies)), strict=True
        )
    ]
    days = parts[0]
    for part in parts[1:]:
        days = days.followed_by(part)
    return days, [float(part.utilisation.mean()) for part in parts]


def breaches(days: PolicyDays, cap: float, *, seen: bool = False) -> int:
    """Days whose silent calls are above the cap; `seen`: without those of answering machines."""
    silent, answered = days.days["silent"], days.days["answered"]
    if seen:
        silent = silent - days.days["silent_amd"]
        answered = answered - days.days["silent_amd"]
    return int(np.count_nonzero(silent > cap * answered + 1e-9))


def figures_of(
    setting: Setting, days: PolicyDays, bare: PolicyDays | None, by_policy: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """The published numbers of one setting.

    Args:
        setting: who plays where.
        days: its days.
        bare: the same days of the policy alone.
        by_policy: mean utilisation of each of several policies.
    """
    what, n = f"{setting.world}, {setting.label}", len(days.seeds)
    busy = mean_interval(days.utilisation)
    rate = ratio_interval(days.days["silent"], days.days["answered"], upper_bound=1.0)
    above = breaches(days, setting.scenario.rule.cap)
    share = clopper_pearson(above, n)
    worst = float(days.silent_rate.max())
    note = "mean of days"
    if len(by_policy) > 1:
        note += "; training seeds in turn " + ", ".join(f"{value:.4f}" for value in by_policy)
    rows = [
        figure(f"{what}: utilisation", busy.value, "1", busy.lo, busy.hi, n, note),
        figure(f"{what}: silent rate", rate.value, "1", rate.lo, rate.hi, n, "pooled"),
        figure(
            f"{what}: days above the cap",
            above / n,
            "1",
            share.lo if above else 0.0,
            share.hi if above else 3.0 / n,
            n,
            f"{above} days; Clopper-Pearson" if above else "none; 3 / n as upper limit",
        ),
        figure(f"{what}: worst day", worst, "1", worst, worst, n, "highest silent rate of a day"),
    ]
    if days.days["silent_amd"].any():
        seen = breaches(days, setting.scenario.rule.cap, seen=True)
        share = clopper_pearson(seen, n)
        rows.append(
            figure(
                f"{what}: days above the cap, detection's own left out",
                seen / n,
                "1",
                share.lo,
                share.hi if seen else 3.0 / n,
                n,
                f"{seen} days without the people taken for machines",
            )
        )
    if "shield_calls" in days.days:
        refused = days.days["shield_acts"] / setting.scenario.episode.duration_s
        acts = mean_interval(refused)
        rows.append(
            figure(f"{what}: refusals", acts.value, "1/s", acts.lo, acts.hi, n, "per second of day")
        )
    if bare is not None:
        cost = paired_difference(days.utilisation, bare.utilisation)
        note = f"against {setting.bare!r} alone, paired by day"
        rows.append(figure(f"{what}: cost", cost.value, "1", cost.lo, cost.hi, n, note))
    return rows


_COLUMNS: Final = ("utilisation", "silent rate", "days above the cap", "worst day", "cost")


def page_table(figures: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a Markdown table, one row for each setting; intervals of 95 %, in percent."""
    rows = by_subject(figures)
    lines = [
        "| World | Policy | Utilisation % | Silent % | Days above the cap % | Worst day % | "
        "Cost of the shield, points |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting, cells in rows.items():
        shown = [_cell(cells.get(column), column) for column in _COLUMNS]
        other = [it for what, it in cells.items() if what.startswith("days above the cap, ")]
        if other:
            shown[2] += f"; without those of detection {_cell(other[0], 'days above the cap')}"
        lines.append("| " + " | ".join([*setting.split(", ", 1), *shown]) + " |")
    return "\n".join(lines) + "\n"


def _cell(one: Mapping[str, Any] | None, column: str) -> str:
    if one is None:
        return ""
    value, lo, hi = (100.0 * float(one[key]) for key in ("value", "lo", "hi"))
    if column == "worst day":
        return f"{value:.2f}"
    if column == "days above the cap" and value == 0.0:
        return f"0 (below {hi:.1f})"
    digits = 1 if column == "days above the cap" else 2
    return f"{value:.{digits}f} ({lo:.{digits}f} to {hi:.{digits}f})"


def play_all(
    asked: Sequence[Setting], seeds: NDArray[np.int64], work: Path, console: Console
) -> list[dict[str, Any]]:
    """Play every setting, show the table, and give the figures.

    Args:
        asked: the settings; one without a shield or loop before those that name it as `bare`.
        seeds: consecutive seeds of the days, (D,).
        work: folder that keeps the days that were played.
        console: where progress and the table go.
    """
    table = Table("world", "policy", "utilisation", "silent", "days above", "worst day", "cost")
    figures: list[dict[str, Any]] = []
    bare: dict[tuple[str, str], PolicyDays] = {}
    for setting in asked:
        days, by_policy = play_setting(setting, seeds, work / "played")
        without = None if setting.bare is None else bare[setting.world, setting.bare]
        if setting.bare is None:
            bare[setting.world, setting.label] = days
        rows = figures_of(setting, days, without, by_policy)
        figures += rows
        by_end = {row["name"].rsplit(": ", 1)[1]: row["value"] for row in rows}
        table.add_row(
            setting.world,
            setting.label,
            f"{by_end['utilisation']:.4f}",
            f"{100 * by_end['silent rate']:.2f} %",
            f"{100 * by_end['days above the cap']:.1f} %",
            f"{100 * by_end['worst day']:.2f} %",
            f"{100 * by_end['cost']:.2f}" if "cost" in by_end else "",
        )
        console.print(f"{setting.world}: {setting.label}", highlight=False)
    console.print(table)
    return figures


def write_figures(
    output: Path | None,
    name: str,
    command: str,
    seeds: str,
    figures: Sequence[dict[str, Any]],
    *,
    of: str,
) -> None:
    """Write the result file of a study, and its table into the page; nothing without a file.

    Args:
        output: the file; None: nothing is written.
        name: name of the result.
        command: command that makes it.
        seeds: which seeds stand behind the figures.
        figures: its rows.
        of: which marked place of the page is filled (`put_figures`).
    """
    if output is None:
        return
    write_json_atomic(output, result_file(name, command, seeds, figures))
    if PAGE.is_file():
        put_figures(PAGE, page_table(figures), of)


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    n_days: int = N_DAYS,
    n_tune_days: int = N_TUNE_DAYS,
) -> None:
    """Play every setting, show the table and write the figures; nothing is trained here."""
    del processes
    figures = play_all(settings(n_tune_days), test_seeds(n_days), work, console)
    said = f"test days 0 to {n_days - 1}, rules tuned on tuning days 0 to {n_tune_days - 1}"
    command = f"quietdial study {NAME} --output {output}"
    write_figures(output, NAME, command, said, figures, of="")
