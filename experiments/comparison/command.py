"""`quietdial compare`: read the runs, compute, and write report, pictures, figures and boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietdial.envs.loading import write_bytes_atomic, write_json_atomic, write_text_atomic
from quietdial.experiments.comparison.boards import write_boards
from quietdial.experiments.comparison.groups import Group, Pair, Section, sections_of
from quietdial.experiments.comparison.page import document, markdown
from quietdial.experiments.comparison.pictures import draw
from quietdial.experiments.comparison.reading import LeftOut, read_runs
from quietdial.experiments.comparison.words import blocks, prefix_of
from quietdial.experiments.plots import png_bytes
from quietdial.experiments.rundir import (
    RESULT_SCHEMA,
    make_folder,
    provenance,
    writable_file,
    writable_folder,
)
from quietdial.experiments.stats import Interval


@dataclass(frozen=True)
class Compared:
    """What was compared, and where it was written.

    Attributes:
        sections: the comparisons, one for each world and cap.
        left_out: runs that could not be compared.
        folder: where the report lies.
        result: the figures, as `comparison.json` holds them.
    """

    sections: tuple[Section, ...]
    left_out: tuple[LeftOut, ...]
    folder: Path
    result: dict[str, Any]


def compare_runs(
    paths: Sequence[Path], out: Path, by: str, command: str, page: Path | None = None
) -> Compared:
    """Compare runs and write `comparison.{md,html,json}`, pictures and TensorBoard runs.

    Args:
        paths: runs, or folders of runs.
        out: folder for the files.
        by: setting that makes the groups; see `reading.read_runs`.
        command: the command that asked for it, for the files.
        page: Markdown file that gets the report too, its pictures in `figures/` beside it under
            its own name; None for none.

    Raises:
        QuietDialError: nothing to compare, or nothing can be written there.
    """
    runs, left_out = read_runs(paths, by)
    sections = sections_of(runs)
    writable_folder(out)
    pictures: dict[str, bytes] = {}
    for section in sections:
        prefix = prefix_of(section, sections)
        for key, figure in draw(section).items():
            pictures[f"{prefix}{key}.png"] = png_bytes(figure)
    folder = make_folder(out / "figures")
    for name, content in pictures.items():
        write_bytes_atomic(folder / name, content)
    text = blocks(sections, left_out, by, command)
    write_text_atomic(out / "comparison.md", markdown(text, "figures/"))
    write_text_atomic(out / "comparison.html", document(text, pictures))
    if page is not None:
        beside = make_folder(writable_file(page).parent / "figures")
        for name, content in pictures.items():
            write_bytes_atomic(beside / f"{page.stem}-{name}", content)
        write_text_atomic(page, markdown(text, f"figures/{page.stem}-"))
    result = _result(sections, left_out, by, command)
    write_json_atomic(out / "comparison.json", result)
    write_boards(sections, out / "tensorboard", by)
    return Compared(sections, tuple(left_out), out, result)


def _result(
    sections: Sequence[Section], left_out: Sequence[LeftOut], by: str, command: str
) -> dict[str, Any]:
    return {
        "schema": RESULT_SCHEMA,
        "name": "comparison",
        **provenance(command),
        "by": by,
        "sections": [_section(section) for section in sections],
        "left_out": [{"run": one.name, "reason": one.reason} for one in left_out],
        "seeds": sorted({seed for section in sections for seed in section.seeds}),
        "figures": [
            figure
            for section in sections
            for figure in _figures(section, prefix_of(section, sections))
        ],
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "scenario": section.scenario,
        "world": section.world,
        "cap": section.cap,
        "days": len(section.seeds),
        "best_rule": section.best_rule,
        "leader": None if section.leader is None else section.leader.name,
        "groups": {
            group.name: {
                "keeps_cap": group.keeps_cap,
                "runs_that_keep_cap": group.n_keeping,
                "runs": [run.name for run in group.runs],
            }
            for group in section.groups
        },
        "notes": list(section.notes),
    }


def _figures(section: Section, prefix: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for group in section.groups:
        rows += _group_figures(group, section.best_rule)
    for pair in section.pairs:
        rows += _pair_figures(pair)
    for rule in section.rules:
        rows += rule.figures()
    return [row | {"name": f"{prefix}{row['name']}"} for row in rows]


def _figure(name: str, value: Interval, unit: str, note: str) -> dict[str, Any]:
    return {"name": name, "unit": unit, "note": note, **value.to_dict()}


def _group_figures(group: Group, rule: str) -> list[dict[str, Any]]:
    over, both = f"minus {rule} at equal silent rate", "over seeds and days"
    its: list[tuple[str, Interval, str, str]] = [
        ("utilisation", group.utilisation, "1", both),
        ("conversations_per_agent_h", group.conversations_per_agent_h, "1/h", both),
        ("silent_rate", group.silent_rate, "1", f"pooled, {both}"),
        ("p_day_breaks_cap", group.days_above, "1", both),
        ("utilisation_over_best_rule", group.over_rule, "1", f"{over}, {both}"),
        ("conversations_over_best_rule", group.conversations_over_rule, "1/h", both),
        ("iqm_over_best_rule", group.iqm, "1", f"{over}, bootstrap over runs"),
    ]
    return [_figure(f"{group.name}/{key}", value, unit, note) for key, value, unit, note in its]


def _pair_figures(pair: Pair) -> list[dict[str, Any]]:
    paired = f"paired by day and seed, {pair.n_seeds} seeds"
    its: list[tuple[str, Interval, str, str]] = [
        ("utilisation", pair.utilisation, "1", paired),
        ("utilisation at equal silent rate", pair.at_equal_rate, "1", paired),
        ("conversations_per_agent_h", pair.conversations_per_agent_h, "1/h", paired),
        ("silent_rate", pair.silent_rate, "1", paired),
        ("probability_of_improvement", pair.improvement, "1", "bootstrap over runs"),
    ]
    prefix = f"{pair.a} minus {pair.b}"
    return [_figure(f"{prefix}/{key}", value, unit, note) for key, value, unit, note in its]
