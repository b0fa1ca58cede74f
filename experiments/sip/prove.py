"""`quietdial sip proof`: real SIP calls placed as the sidecar says, against the simulator."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.bench.results import (
    MUST_BE_ZERO,
    broken,
    by_subject,
    figure,
    figures_table,
    made_by,
    put_figures,
    result_file,
    share_figure,
    show_figures,
)
from quietdial.experiments.rundir import writable_file
from quietdial.experiments.sip.callees import why_not
from quietdial.experiments.sip.compare import FALSE_ALARMS, MEASURES, Compared, columns, compare
from quietdial.experiments.sip.grid import grid_figures
from quietdial.experiments.sip.play import Played, Session, play
from quietdial.experiments.sip.worlds import (
    CAP,
    LEARNT,
    RATIOS,
    Setting,
    ratio_policy,
    simulate,
    sip_floor,
    trained_policy,
)
from quietdial.experiments.stats import clopper_pearson, holm

SEED: Final = 20_260_302
"""Of the first session; the next ones follow. The simulator's other sessions come after them."""

_MANY: Final = 2000
Figure = dict[str, Any]


class Size(NamedTuple):
    """How large a proof is.

    Attributes:
        seconds: length of a session.
        sessions: for each setting.
        ratios: of the fixed-ratio rule.
        steps: of the training; 0: no trained policy.
    """

    seconds: float
    sessions: int
    ratios: tuple[float, ...]
    steps: int


WHOLE: Final = Size(600.0, 8, RATIOS, 2_000_000)
QUICK: Final = Size(90.0, 2, (1.0, 3.0), 0)


def settings_of(size: Size) -> list[Setting]:
    """Who plays: fixed ratios, of which silent calls are only counted, and a trained policy."""
    free = sip_floor(size.seconds)
    found = [
        Setting(f"ratio {ratio:g}", ratio_policy(free, ratio), free, ratio) for ratio in size.ratios
    ]
    if size.steps:
        policy = trained_policy(size.steps)
        capped = sip_floor(size.seconds, cap=CAP, known_rate=False)
        found.append(Setting(LEARNT, policy, capped, shield="deterministic"))
    return found


def prove(
    size: Size, output: Path | None, console: Console, command: str, page: Path | None = None
) -> bool:
    """Play everything, show the figures, write them.

    Args:
        size: how much of it.
        output: JSON file for the figures; None: not written.
        console: where progress goes.
        command: what was typed.
        page: Markdown file whose tables of figures are made anew; None: none.

    Returns:
        Whether every count agrees and no difference to the simulator is significant.

    Raises:
        ConfigError: SIPp is not installed.
    """
    missing = why_not()
    if missing is not None:
        raise ConfigError(missing)
    if output is not None:
        writable_file(output)
    if size.steps:
        console.print(f"training on the floor: {size.steps:,} steps")
    settings = settings_of(size)
    seeds = list(range(SEED, SEED + size.sessions))
    with tempfile.TemporaryDirectory(prefix="quietdial-") as folder:
        played = play(settings, seeds, Path(folder), lambda text: console.print(f"  {text}"))
    console.print("the simulator")
    figures, surprises = _compared(settings, seeds, played)
    figures += [*_counts(settings, played), *_decisions(settings, played), *_times(played)]
    if size.steps:
        figures += grid_figures(seeds)
    show_figures(figures, console, notes=True)
    text = f"{seeds[0]} to {seeds[-1]}: sessions; the next {_MANY}: other sessions of the simulator"
    result = result_file("sip-loop", command, text, figures)
    result["machine"]["load_average"] = round(os.getloadavg()[2], 1)
    result["machine"]["scheduling"] = played.preferred
    result["machine"]["sipp"] = _sipp_version()
    if output is not None:
        write_json_atomic(output, result)
    if page is not None:
        put_figures(page, comparison_table(result), "comparison")
        put_figures(page, table(result), "counts")
    return not broken(figures) and not surprises


# --- against the simulator ----------------------------------------------------------------------


def _compared(
    settings: Sequence[Setting], seeds: Sequence[int], played: Played
) -> tuple[list[Figure], int]:
    """Figures of every setting both ways, and how many differences are significant."""
    others = list(range(seeds[-1] + 1, seeds[-1] + 1 + _MANY))
    found: list[tuple[str, Compared]] = []
    figures: list[Figure] = []
    for setting in settings:
        real = columns([_totals(s) for s in played.sessions if s.setting == setting.name])
        twins, many = simulate(setting, list(seeds)), simulate(setting, others)
        for measure in MEASURES:
            both = compare(measure, real, twins, many, SEED)
            found.append((f"{setting.name}: {measure.name}", both))
            figures += _figures_of(f"{setting.name}: {measure.name}", measure.unit, both)
    alone = holm([both.p for _, both in found], FALSE_ALARMS)
    paired = holm([both.paired_p for _, both in found], FALSE_ALARMS)
    for name, rejected in (("surprises", alone), ("paired surprises", paired)):
        which = ", ".join(
            what for (what, _), bad in zip(found, rejected.tolist(), strict=True) if bad
        )
        n = int(rejected.sum())
        how = "among sets of simulated sessions" if name == "surprises" else "paired by session"
        note = (
            f"figures that differ, {how}; Holm over {len(found)}, chance of a false alarm at most "
            f"{FALSE_ALARMS:g}; {which or 'none'}"
        )
        figures.append(figure(name, n, "figures", n, n, len(found), note))
    return figures, int(alone.sum() + paired.sum())


def _figures_of(name: str, unit: str, both: Compared) -> list[Figure]:
    real, simulated, difference = both.real, both.simulated, both.difference
    return [
        figure(f"{name}, SIP", real.value, unit, real.lo, real.hi, real.n, "pooled, 95 %"),
        figure(
            f"{name}, simulator",
            simulated.value,
            unit,
            simulated.lo,
            simulated.hi,
            simulated.n,
            "other sessions, pooled, 95 %",
        ),
        figure(
            f"{name}, difference",
            difference.value,
            unit,
            difference.lo,
            difference.hi,
            difference.n,
            f"SIP - simulator over the same draws, paired by session, 95 %; p {both.paired_p:.3g}",
        ),
        figure(
            f"{name}, z",
            both.z,
            "1",
            both.z,
            both.z,
            real.n,
            f"of the SIP sessions among sets of as many simulated ones; p {both.p:.3g}",
        ),
    ]


def _totals(session: Session) -> dict[str, float]:
    """Totals of a session under the simulator's names."""
    told = session.totals
    names = ("dialed", "answered", "connected", "talk_s", "wrap_s", "idle_s", "waiting_s")
    busy_s = told["talk_s"] + told["wrap_s"]
    return {
        **{name: told[name] for name in names},
        "silent": told["silent_cut"] + told["silent_left"],
        "available_s": busy_s + told["idle_s"],
    }


# --- counts -------------------------------------------------------------------------------------

_NETWORK_SAYS: Final = {
    "invited": "dialed",
    "busy": "busy",
    "invalid": "invalid",
    "cancelled": "no_answer",
    "answered": "answered",
    "talked": "connected",
    "cut": "silent_cut",
    "left": "silent_left",
}
"""SIPp's count, and the dialer's of the same."""


def _counts(settings: Sequence[Setting], played: Played) -> list[Figure]:
    sessions = played.sessions
    dialed = sum(s.totals["dialed"] for s in sessions)
    answered = sum(s.totals["answered"] for s in sessions)
    unaccounted = sum(
        abs(
            t["dialed"]
            - sum(t[k] for k in ("answered", "busy", "no_answer", "invalid", "failure"))
            - t["in_flight"]
        )
        + abs(t["answered"] - t["connected"] - t["silent_cut"] - t["silent_left"])
        for t in (s.totals for s in sessions)
    )
    disagreements = 0
    for setting in settings:
        mine: Counter[str] = Counter()
        for session in sessions:
            if session.setting == setting.name:
                mine.update({name: session.totals[name] for name in _NETWORK_SAYS.values()})
        network = played.networks[setting.name]
        disagreements += sum(abs(network[its] - mine[our]) for its, our in _NETWORK_SAYS.items())
        ended = network["dialer_ended"] + network["callee_ended"]
        disagreements += abs(ended - mine["connected"]) + network["failed"] + network["current"]
    other = sum(
        record["outcome"] != fate.outcome
        and not (fate.outcome == "person" and record["outcome"] == "no_answer")
        for session in sessions
        for record, fate in zip(session.records, session.fates, strict=False)
    )
    by_callee = sum(counts["callee_ended"] for counts in played.networks.values())
    crossed = sum(s.totals["crossed"] for s in sessions)
    left = sum(s.totals["in_flight"] for s in sessions)
    resent = sum(s.totals["resent"] for s in sessions)
    return [
        _never(
            "calls-unaccounted",
            unaccounted,
            dialed,
            f"dialed - (answered + busy + no answer + invalid + failure + {left} in flight at the "
            "end), and answered - (connected + cut + left), without sign",
        ),
        _never(
            "counts-that-differ-from-sipp",
            disagreements,
            dialed,
            f"SIPp's own statistics of {len(_NETWORK_SAYS) + 1} kinds of events, its failed calls "
            f"and those it still had; {by_callee:,} of the conversations were ended by the callee",
        ),
        _never(
            "other-outcomes", other, dialed, "dials that ended otherwise than the callee was to"
        ),
        _never(
            "answers-that-crossed-a-cancel",
            crossed,
            answered,
            f"taken as answers; messages sent again: {resent}",
            must=False,
        ),
    ]


def _never(name: str, found: int, n: int, note: str, *, must: bool = True) -> Figure:
    """A share with its bound, that must be zero if `must`."""
    text = f"{MUST_BE_ZERO}; {note}" if must else note
    return share_figure(name, clopper_pearson(min(found, n), n), f"{text}; 95 %: Clopper-Pearson")


# --- decisions and times ------------------------------------------------------------------------


def _decisions(settings: Sequence[Setting], played: Played) -> list[Figure]:
    ratios = {setting.name: setting for setting in settings if setting.ratio is not None}
    by: Counter[str] = Counter()
    asked = wrong = 0
    for session in played.sessions:
        for decision in session.decisions:
            policy = decision["by"] == "policy"
            who = "policy" if policy else f"{decision['by']}: {decision['reason']}"
            by[who] += 1
            setting = ratios.get(session.setting)
            if setting is not None and policy:
                asked += 1
                wrong += decision["calls"] != _ratio_says(setting, decision)
    n = sum(by.values())
    told = ", ".join(f"{who} {count:,}" for who, count in by.most_common())
    return [
        _never(
            "ratio-decisions-that-differ",
            wrong,
            asked,
            "answers of the sidecar against floor(ratio x idle) - in flight - waiting",
        ),
        share_figure(
            "not-by-the-policy",
            clopper_pearson(n - by["policy"], n),
            f"decisions: {told}; 95 %: Clopper-Pearson",
        ),
    ]


def _ratio_says(setting: Setting, seen: Mapping[str, Any]) -> int:
    lines = int((setting.ratio or 0.0) * seen["idle"])
    most = min(setting.scenario.max_dials, int(seen["lines_free"]))
    return min(max(lines - int(seen["in_flight"]) - int(seen["waiting"]), 0), most)


def _times(played: Played) -> list[Figure]:
    sessions = played.sessions
    waits_ms = [1000 * d["wait_s"] for s in sessions for d in s.decisions if d["by"] != "client"]
    rings_ms = [
        record["picked_up_ms"] - record["dialed_ms"] - fate.ring_ms
        for session in sessions
        for record, fate in zip(session.records, session.fates, strict=False)
        if record["picked_up_ms"] is not None and not record["crossed"]
    ]
    figures = []
    for name, values, note in (
        ("wait-for-the-sidecar", waits_ms, "of answered asks; the dialer waits 50 ms at most"),
        (
            "ringing-too-long",
            rings_ms,
            "answer at the dialer - dial - drawn time; SIPp and network",
        ),
    ):
        p50, p99, most = np.quantile(values, (0.5, 0.99, 1.0)).tolist()
        note += "; lo: median, hi: largest; value: 99 % quantile"
        figures.append(figure(name, p99, "ms", p50, most, len(values), note))
    for name, key, note in (
        ("timers-late", "timer_ms", "timers of the dialers"),
        ("seconds-late", "tick_ms", "the dialers' decisions"),
    ):
        rows = [session.totals[key] for session in sessions]
        note += "; of all dialers lo: middle median, hi: largest; value: worst 99 % quantile"
        p50 = float(np.median([row["p50"] for row in rows]))
        p99, most = (max(row[end] for row in rows) for end in ("p99", "max"))
        figures.append(figure(name, p99, "ms", p50, most, sum(row["n"] for row in rows), note))
    return figures


def _sipp_version() -> str:
    done = subprocess.run(
        ["sipp", "-v"],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    words = done.stdout.split()
    return words[1] if len(words) > 1 else ""


# --- the page -----------------------------------------------------------------------------------


def comparison_table(result: Mapping[str, Any]) -> str:
    """Both ways side by side, for docs/sip-loop.md."""
    rows = by_subject([row for row in result["figures"] if ": " in row["name"]])
    lines = [
        made_by(result),
        "",
        "| Setting | Figure | SIP | Simulator | Difference over the same draws | z |",
        "|---|---|---|---|---|---|",
    ]
    for subject, figures in rows.items():
        for measure in MEASURES:
            real, simulated, difference, z = (
                figures[f"{measure.name}, {way}"] for way in ("SIP", "simulator", "difference", "z")
            )
            digits, scale, unit = (3, 1.0, " s") if measure.unit == "s" else (2, 100.0, " %")
            lines.append(
                f"| {subject} | {measure.name} | {_shown(real, scale, digits)}{unit} "
                f"| {scale * simulated['value']:.{digits}f}{unit} "
                f"| {_shown(difference, scale, digits, '+')} | {z['value']:+.2f} |"
            )
    return "\n".join(lines) + "\n"


def _shown(row: Mapping[str, Any], scale: float, digits: int, sign: str = "") -> str:
    value, lo, hi = (f"{scale * row[key]:{sign}.{digits}f}" for key in ("value", "lo", "hi"))
    return f"{value} ({lo} to {hi})"


def table(result: Mapping[str, Any]) -> str:
    """Counts, decisions and times, for docs/sip-loop.md."""
    return figures_table([row for row in result["figures"] if ": " not in row["name"]])
