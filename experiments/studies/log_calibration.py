"""Calibrate known worlds through each dialer's logs: do the intervals hold the truth?

Ten times eight days of `calibration.proof.true_world` are recorded, written as each format's
logs, read back and calibrated without laws; an interval should hold the truth nineteen times of
twenty. Then ten days are calibrated with laws, and each calibrated world plays beside the
true one under the same rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rich.console import Console

from quietdial.envs.dialer_logs import FORMATS
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.bench.results import figure, put_figures, result_file, share_figure
from quietdial.experiments.calibration import proof
from quietdial.experiments.calibration.estimates import Estimate
from quietdial.experiments.simulate import Simulation
from quietdial.experiments.stats import clopper_pearson

NAME: Final = "log-calibration"
PAGE: Final = Path("docs/calibration.md")
ROUNDS: Final = 10
DAYS: Final = 8
EXAMPLE_DAYS: Final = 10
REPLAY_DAYS: Final = 64
FIRST_SEED, EXAMPLE_SEED, REPLAY_SEED = 1000, 9000, 20_000
POLICY: Final = "ratio:2.2"
"""Dials so many that some callees wait, without knowing the world's laws."""
_COMPARED: Final = {"utilisation": "figure.utilisation", "silent_rate": "figure.silent_rate"}

Figure = dict[str, Any]


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do the round trips, show the table and write the figures; see command.py."""
    rows = round_trips(ROUNDS, DAYS, console)
    rows += example(EXAMPLE_DAYS, REPLAY_DAYS, console)
    text = markdown(rows)
    console.print(text, highlight=False)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        seeds = (
            f"rounds {FIRST_SEED} + 100 k to + {DAYS - 1}, example {EXAMPLE_SEED} to "
            f"{EXAMPLE_SEED + EXAMPLE_DAYS - 1}, replay {REPLAY_SEED} to "
            f"{REPLAY_SEED + REPLAY_DAYS - 1}; policy {POLICY}"
        )
        write_json_atomic(output, result_file(NAME, command, seeds, rows))
        if PAGE.is_file():
            put_figures(PAGE, text, NAME)


def round_trips(rounds: int, n_days: int, console: Console) -> list[Figure]:
    """Coverage of the intervals by format and field, and the counts that differ."""
    truth, world = proof.truth(), proof.true_world()
    held: dict[tuple[str, str], list[bool]] = {}
    compared, wrong = 0, list[str]()
    for number in range(rounds):
        seed = FIRST_SEED + 100 * number
        seen = proof.look(world, n_days, seed, POLICY, with_laws=False)
        n, differ = proof.disagreements(seen)
        compared, wrong = compared + n, wrong + differ
        for one in seen:
            for field, value in truth.items():
                if one.found.has(field):
                    estimate = one.found.get(field)
                    held.setdefault((one.format, field), []).append(proof.covers(estimate, value))
        console.print(f"round {number + 1} of {rounds}", highlight=False)
    rows = []
    for name in FORMATS:
        mine = {field: hits for (which, field), hits in held.items() if which == name}
        every = [hit for hits in mine.values() for hit in hits]
        share = clopper_pearson(sum(every), len(every))
        note = f"{len(mine)} numbers in each of {rounds} rounds; numbers of a round depend"
        rows.append(share_figure(f"{name}: intervals that hold the truth", share, note))
        for field, hits in mine.items():
            share = clopper_pearson(sum(hits), len(hits))
            rows.append(share_figure(f"{name}: {field} held", share, f"truth {truth[field]:.6g}"))
    share = clopper_pearson(len(wrong), max(compared, 1))
    what = "counts of the same day that differ between formats"
    rows.append(share_figure(what, share, "; ".join(wrong[:20]) or "none"))
    return rows


def example(n_days: int, n_replay: int, console: Console) -> list[Figure]:
    """One calibration with laws, and its world beside the true one."""
    truth, world = proof.truth(), proof.true_world()
    seen = proof.look(world, n_days, EXAMPLE_SEED, POLICY, with_laws=True)
    rows: list[Figure] = []
    for one in seen:
        for estimate in one.found.estimates:
            value = truth.get(estimate.field)
            note = f"truth {value:.6g}" if value is not None else estimate.what
            rows.append(_row(f"{one.format}, example: {estimate.field}", estimate, note))
    replays = proof.replay(
        seen, world, POLICY, n_days=n_replay, seed=REPLAY_SEED, report=console.print
    )
    for which in _COMPARED:
        rows.append(_played(f"true world: {which}", replays[0].true, which))
        rows += [_played(f"calibrated from {r.format}: {which}", r.copy, which) for r in replays]
    return rows


def _row(name: str, estimate: Estimate, note: str) -> Figure:
    row = estimate.to_json()
    more = f"{note}; {estimate.n_censored} cut off" if estimate.n_censored else note
    return figure(name, row["value"], row["unit"], row["lo"], row["hi"], row["n"], more)


def _played(name: str, played: Simulation, which: str) -> Figure:
    found = next(row for row in played.figures() if row["name"] == which)
    return figure(name, found["value"], "1", found["lo"], found["hi"], found["n"], "episodes")


def markdown(rows: list[Figure]) -> str:
    """The tables of the page."""
    by_name = {row["name"]: row for row in rows}
    truth = proof.truth()
    lines = [
        f"| number | truth | {' | '.join(FORMATS)} | held ({', '.join(FORMATS)}) |",
        "|---|---|" + "---|" * (len(FORMATS) + 1),
    ]
    for field, value in truth.items():
        cells, held = [], []
        for name in FORMATS:
            row = by_name.get(f"{name}, example: {field}")
            cells.append("-" if row is None else _text(row))
            hits = by_name.get(f"{name}: {field} held")
            held.append("-" if hits is None else f"{round(hits['value'] * hits['n'])}/{hits['n']}")
        lines.append(f"| {field} | {value:.4g} | {' | '.join(cells)} | {', '.join(held)} |")
    lines += ["", "| | true world | " + " | ".join(f"from {name}" for name in FORMATS) + " |"]
    lines.append("|---|" + "---|" * (len(FORMATS) + 1))
    for which, words in (("utilisation", "utilisation"), ("silent_rate", "silent rate")):
        names = ["true world", *(f"calibrated from {name}" for name in FORMATS)]
        cells = [_percent(by_name[f"{name}: {which}"]) for name in names]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    lines.append("")
    for name in FORMATS:
        row = by_name[f"{name}: intervals that hold the truth"]
        lines.append(f"- {name}: {_percent(row)} of {row['n']} intervals hold the truth.")
    row = by_name["counts of the same day that differ between formats"]
    wrong = round(row["value"] * row["n"])
    lines.append(
        f"- Counts of the same day that differ between the formats: {wrong} of {row['n']:,} "
        f"(at most {100 * row['hi']:.3f} %)."
    )
    return "\n".join(lines) + "\n"


def _text(row: Figure) -> str:
    ends = [row["lo"], row["hi"]]
    lo, hi = ("none" if end is None else f"{end:.3g}" for end in ends)
    return f"{row['value']:.4g} ({lo} to {hi})"


def _percent(row: Figure) -> str:
    return f"{100 * row['value']:.2f} % ({100 * row['lo']:.2f} to {100 * row['hi']:.2f})"
