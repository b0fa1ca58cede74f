"""Aggregate runs for TensorBoard: one for each group and rule, with the tags of single runs.

A group's run holds the mean over its seeds, and under `<tag>_lower` and `<tag>_upper` the band, so
that the Margin charts of the prepared Custom Scalars page draw it. A rule's run holds its judged
figures as flat lines under the tags of training, so that both stand in one chart. `final/` is what
the judge found, in the HParams table too. Settings there are few, and named as single runs name
them: TensorBoard shows the columns of the first run that it finds, and of no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from quietdial.experiments.comparison.groups import Group, Section
from quietdial.experiments.comparison.learning import Curve, curve_of
from quietdial.experiments.comparison.reading import CURVES
from quietdial.experiments.comparison.words import answer, prefix_of
from quietdial.experiments.stats import Interval, PolicySummary
from quietdial.experiments.tensorboard import (
    FINAL,
    RunWriter,
    Tag,
    final_scalars,
)

BANDS: Final = {
    "utilisation, mean over seeds with 95 % band": Tag.UTILISATION,
    "silent rate, mean over seeds with 95 % band": Tag.SILENT_RATE,
    "conversations per agent-hour, mean over seeds with 95 % band": Tag.CONVERSATIONS,
    "multiplier, mean over seeds with 95 % band": Tag.MULTIPLIER,
}
"""Margin charts of the prepared page."""

JUDGED_BANDS: Final = {
    "judged utilisation with 95 % interval": Tag.FINAL_UTILISATION,
    "judged silent rate with 95 % interval": Tag.FINAL_SILENT_RATE,
}

_NEVER_NEGATIVE: Final = frozenset({Tag.SILENT_RATE, Tag.COST, Tag.MULTIPLIER, Tag.FPS})


def layout() -> dict[str, dict[str, list[object]]]:
    """The Custom Scalars page of aggregate runs: Margin charts of value, lower and upper."""
    silent = [f"^{re.escape(Tag.SILENT_RATE)}$", f"^{re.escape(Tag.CAP)}$"]
    return {
        "Is the cap kept, and what does it bring?": {
            **{title: ["Margin", list(band_tags(tag))] for title, tag in BANDS.items()},
            "silent rate and cap": ["Multiline", silent],
        },
        "The judge: groups and rules on the same days": {
            title: ["Margin", list(band_tags(tag))] for title, tag in JUDGED_BANDS.items()
        },
    }


def band_tags(tag: str) -> tuple[str, str, str]:
    """Tags of a value and of the ends of its band."""
    return str(tag), f"{tag}_lower", f"{tag}_upper"


def write_boards(sections: Sequence[Section], folder: Path, by: str) -> list[Path]:
    """Write the aggregate runs of all sections; returns their folders."""
    written: list[Path] = []
    for section in sections:
        prefix = prefix_of(section, sections)
        end = max(run.steps for group in section.groups for run in group.runs)
        for group in section.groups:
            written.append(folder / f"{prefix}{_slug(group.name)}-mean-of-{len(group.runs)}")
            _write_group(written[-1], section, group, by, end)
        for rule in section.rules:
            written.append(folder / f"{prefix}rule-{_slug(rule.name)}")
            _write_rule(written[-1], section, rule, by, end)
    return written


def _write_group(folder: Path, section: Section, group: Group, by: str, end: int) -> None:
    with _writer(folder, section, by, group.name) as writer:
        for name in CURVES:
            curve = curve_of(group.runs, name)
            if curve is not None:
                _write_curve(writer, name, curve)
        _cap(writer, section, end)
        final = {
            Tag.FINAL_UTILISATION: group.utilisation,
            Tag.FINAL_CONVERSATIONS: group.conversations_per_agent_h,
            Tag.FINAL_SILENT_RATE: group.silent_rate,
            Tag.FINAL_P_DAY_BREAKS_CAP: group.days_above,
            Tag.FINAL_OVER_BEST_RULE: group.over_rule,
        }
        for step in (0, end):  # flat lines, so that charts compare them with the rules'
            _write_bands(writer, final, step)
            writer.scalars({Tag.FINAL_SILENT_RATE_UPPER: group.silent_rate.hi}, step)
        lines = "\n".join(f"- {line}" for line in answer(section))
        writer.text(Tag.TEXT_VERDICT, lines, end)


def _write_rule(folder: Path, section: Section, rule: PolicySummary, by: str, end: int) -> None:
    best = next(its for its in section.rules if its.name == section.best_rule)
    over = rule.utilisation.value - best.utilisation.value  # both as judged
    flat = {
        Tag.UTILISATION: rule.utilisation,
        Tag.SILENT_RATE: rule.silent_rate,
        Tag.CONVERSATIONS: rule.conversations_per_agent_h,
        Tag.FINAL_UTILISATION: rule.utilisation,
        Tag.FINAL_SILENT_RATE: rule.silent_rate,
    }
    with _writer(folder, section, by, f"rule {rule.name}") as writer:
        for step in (0, end):
            _write_bands(writer, flat, step)
            writer.scalars(final_scalars(rule, over), step)
        _cap(writer, section, end)


def _writer(folder: Path, section: Section, by: str, name: str) -> RunWriter:
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    writer = RunWriter(folder)
    writer.layout_of(layout())
    settings = {by.removeprefix("learner."): name, "scenario": section.scenario}
    writer.hparams({**settings, "cap": section.cap}, FINAL)
    return writer


def _cap(writer: RunWriter, section: Section, end: int) -> None:
    if section.has_cap:
        for step in (0, end):
            writer.scalars({Tag.CAP: section.cap}, step)


def _write_curve(writer: RunWriter, name: str, curve: Curve) -> None:
    value, lower, upper = band_tags(name)
    for k, step in enumerate(curve.steps.tolist()):
        lo = float(curve.lo[k])
        if name in _NEVER_NEGATIVE:
            lo = max(lo, 0.0)
        writer.scalars(
            {value: float(curve.mean[k]), lower: lo, upper: float(curve.hi[k])}, int(step)
        )


def _write_bands(writer: RunWriter, values: Mapping[Tag, Interval], step: int) -> None:
    for tag, interval in values.items():
        value, lower, upper = band_tags(tag)
        writer.scalars({value: interval.value, lower: interval.lo, upper: interval.hi}, step)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "group"
