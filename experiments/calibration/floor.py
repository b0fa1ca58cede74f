"""What agents do: talk, wrap-up, breaks, how many are there, how days and agents differ."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quietdial.envs.dialer_logs import RecordedDay, RecordedDays
from quietdial.experiments.calibration.estimates import (
    Estimate,
    Findings,
    mean_of,
    ratio_of,
    share_of,
)
from quietdial.experiments.calibration.laws import Times, fit_law, mean_estimate
from quietdial.experiments.stats.intervals import Interval

FloatArray = NDArray[np.float64]
_STATES: Final = ("agent", "state", "from_ms", "to_ms", "censored")
_BUSY: Final = ("talk", "wrap")
_AWAY: Final = ("off", "break")
LUNCH_MS: Final = 1_800_000
"""A pause of half an hour and more is a lunch, not a short break [ms]."""
_SLACK_MS: Final = 1500
"""A break that begins within so long after a wrap-up belongs to it, whatever the rounding [ms]."""


def estimate_floor(days: RecordedDays, found: Findings) -> None:
    """Add what agents do to what was found."""
    _talk(days, found)
    _wrap(days, found)
    if not days.known("agents", *_STATES):
        why = next(iter(days.days[0].agents.unknown.values()))
        for field in ("floor.n_agents", "floor.breaks", "floor.shifts"):
            found.open[field] = why
        return
    _breaks(days, found)
    _numbers(days, found)
    _figures(days, found)


def _step_s(day: RecordedDay, name: str) -> float:
    step = day.calls.step_ms(name) / 1000.0
    return step if step > 0.001 else 0.0


# --- talk and wrap-up -----------------------------------------------------------------------------


def _talk(days: RecordedDays, found: Findings) -> None:
    if not days.known("calls", "talk_ms", "connected_ms"):
        found.open["floor.talk"] = days.days[0].calls.unknown.get("talk_ms", "not in the log")
        found.open["floor.talk_day_sd"] = found.open["floor.talk"]
        return
    talks, where, agents, cuts, cut_where = [], [], [], [], []
    for number, day in enumerate(days.days):
        calls = day.calls
        done = (calls["talk_ms"] >= 0) & (calls["outcome"] != "machine")
        talks.append(calls["talk_ms"][done] / 1000.0)
        agents.append(calls["agent"][done])
        where.append(np.full(int(done.sum()), number, np.int64))
        going = calls["censored"] & (calls["connected_ms"] >= 0) & (calls["talk_ms"] < 0)
        going &= calls["outcome"] != "machine"
        cut = (day.length_ms - calls["connected_ms"][going]) / 1000.0
        cuts.append(np.maximum(cut, 0.0))
        cut_where.append(np.full(int(going.sum()), number, np.int64))
    times = Times(
        np.concatenate(talks),
        np.concatenate(where),
        np.concatenate(cuts),
        np.concatenate(cut_where),
        _step_s(days.days[0], "talk_ms"),
    )
    source = days.days[0].calls.source.get("talk_ms", "")
    estimate = mean_estimate("floor.talk", "mean conversation", times, len(days.days), source)
    if estimate is not None:
        found.estimates.append(estimate)
    day_sd, effect = _spread(
        times.positive(), times.day, "floor.talk_day_sd", "days", source, found, len(days.days)
    )
    level = times
    if day_sd is not None:
        found.values["floor.talk_day_sd"] = day_sd
        level = Times(
            times.positive() / np.exp(effect[times.day]),
            times.day,
            times.cut_s / np.exp(effect[times.cut_day]),
            times.cut_day,
            times.resolution_s,
        )
    within = np.log(level.positive())
    who = np.concatenate(agents)
    speed, _ = _spread(
        np.exp(within),
        times.day * (int(who.max(initial=0)) + 1) + who,  # a number may change hands over night
        "floor.speed_sd",
        "agents",
        source,
        found,
        len(days.days),
    )
    if speed is not None:
        found.open["floor.speed_sd"] = (
            f"agents differ by {speed:.3f} (sd of the log); the pooled law of talk holds the "
            "differences, so the scenario has none beside it"
        )
    law = fit_law(level) if found.with_laws else None
    if law is None:
        found.open["floor.talk"] = f"only {times.time_s.size} conversations"
    else:
        found.laws["floor.talk"] = law


def _spread(
    time_s: FloatArray,
    group: NDArray[np.int64],
    field: str,
    of: str,
    source: str,
    found: Findings,
    n_days: int,
) -> tuple[float | None, FloatArray]:
    """Standard deviation between groups of the log of a time, and each group's shrunken effect.

    One-way analysis of variance: (MSB - MSW) / n0; the interval is that of MSB by the chi-square
    law, which holds for many times in each group. Below 3 groups nothing is told.
    """
    effect = np.zeros(int(group.max(initial=0)) + 1 if of == "agents" else n_days)
    names, place = np.unique(group, return_inverse=True)
    counts = np.bincount(place).astype(np.float64) if place.size else np.zeros(0)
    if of == "days" and len(names) < 3:
        found.open[field] = f"{len(names)} days with times; their differences take at least 3"
        return None, effect
    if len(names) < 3 or counts.min() < 2:
        return None, effect
    log = np.log(time_s)
    means = np.zeros(len(names))
    np.add.at(means, place, log)
    means /= counts
    k, n = len(names), float(log.size)
    grand = float(log.mean())
    msb = float((counts * (means - grand) ** 2).sum()) / (k - 1)
    msw = float(((log - means[place]) ** 2).sum()) / (n - k)
    n0 = (n - float((counts**2).sum()) / n) / (k - 1)
    lo, value, hi = (
        max(float(msb * scale - msw) / n0, 0.0)
        for scale in (
            (k - 1) / float(special.chdtri(k - 1, 0.025)),
            1.0,
            (k - 1) / float(special.chdtri(k - 1, 0.975)),
        )
    )
    words = "differences between days" if of == "days" else "differences between agents"
    found.estimates.append(
        Estimate(
            field,
            f"{words} of the talk time (sd of the log)",
            Interval(math.sqrt(value), math.sqrt(lo), math.sqrt(hi), k),
            "1",
            of,
            0,
            source,
        )
    )
    shrink = value / (value + msw / counts)
    effect[names] = shrink * (means - float(means.mean()))
    return round(math.sqrt(value), 4), effect


def _wrap(days: RecordedDays, found: Findings) -> None:
    if not days.known("calls", "wrap_ms"):
        found.open["floor.wrap"] = days.days[0].calls.unknown.get("wrap_ms", "not in the log")
        return
    wraps, where, cuts, cut_where = [], [], [], []
    for number, day in enumerate(days.days):
        wrap = day.calls["wrap_ms"]
        wraps.append(wrap[wrap >= 0] / 1000.0)
        where.append(np.full(int((wrap >= 0).sum()), number, np.int64))
        if day.agents.has(*_STATES):
            going = (day.agents["state"] == "wrap") & day.agents["censored"]
            cut = (day.agents["to_ms"] - day.agents["from_ms"])[going] / 1000.0
            cuts.append(cut)
            cut_where.append(np.full(len(cut), number, np.int64))
    none = np.zeros(0)
    times = Times(
        np.concatenate(wraps),
        np.concatenate(where),
        np.concatenate([none, *cuts]),
        np.concatenate([none.astype(np.int64), *cut_where]),
        _step_s(days.days[0], "wrap_ms"),
    )
    source = days.days[0].calls.source.get("wrap_ms", "")
    estimate = mean_estimate("floor.wrap", "mean wrap-up", times, len(days.days), source)
    if estimate is not None:
        found.estimates.append(estimate)
    law = fit_law(times) if found.with_laws else None
    if law is None:
        found.open["floor.wrap"] = f"only {times.time_s.size} wrap-ups"
    else:
        found.laws["floor.wrap"] = law


# --- breaks and numbers ---------------------------------------------------------------------------


def _breaks(days: RecordedDays, found: Findings) -> None:
    after = "wrap" if days.known("calls", "wrap_ms") else "talk"
    ends, followed, lengths, where, cuts, cut_where = [], [], [], [], [], []
    others = lunches = 0
    for number, day in enumerate(days.days):
        agents = day.agents
        order = np.lexsort((agents["from_ms"], agents["agent"]))
        agent, state = agents["agent"][order], agents["state"][order]
        begin, end = agents["from_ms"][order], agents["to_ms"][order]
        cut = agents["censored"][order]
        is_break = state == "break"
        is_long = is_break & (end - begin >= LUNCH_MS)
        lunches += int(is_long.sum())
        is_break &= ~is_long
        comes_after = np.zeros(len(order), np.bool_)
        same = (agent[1:] == agent[:-1]) & (begin[1:] - end[:-1] <= _SLACK_MS)
        comes_after[1:] = same & (state[:-1] == after)
        is_end = (state == after) & ~cut
        is_end[:-1] &= ~((state[1:] == after) & (agent[1:] == agent[:-1]))  # two parts of one
        ends.append(float(is_end.sum()))
        mine = is_break & comes_after
        followed.append(float(mine.sum()))
        others += int((is_break & ~comes_after).sum())
        whole = mine & ~cut
        lengths.append((end - begin)[whole] / 1000.0)
        where.append(np.full(int(whole.sum()), number, np.int64))
        open_ = mine & cut
        cuts.append((end - begin)[open_] / 1000.0)
        cut_where.append(np.full(int(open_.sum()), number, np.int64))
    step = days.days[0].agents.step_ms("from_ms") / 1000.0
    times = Times(
        np.concatenate(lengths),
        np.concatenate(where),
        np.concatenate(cuts),
        np.concatenate(cut_where),
        step if step > 0.001 else 0.0,
    )
    source = days.days[0].agents.source.get("state", "")
    total = int(sum(ends))
    if not total:
        found.open["floor.breaks"] = f"no agent finished a {after} within the log"
        return
    word = "wrap-ups" if after == "wrap" else "conversations"
    p = share_of(followed, ends)
    found.estimates.append(
        Estimate(
            "floor.breaks.p_after_wrap",
            f"{word} that are followed by a break",
            p,
            "1",
            word,
            0,
            source,
            note="pauses of half an hour and more, and those that follow no wrap-up, are not in it",
        )
    )
    estimate = mean_estimate("floor.breaks.duration", "mean break", times, len(days.days), source)
    law = fit_law(times) if found.with_laws else None
    if estimate is not None:
        found.estimates.append(estimate)
    if law is not None:
        found.laws["floor.breaks.duration"] = law
        found.values["floor.breaks.p_after_wrap"] = round(p.value, 6)
    elif not sum(followed):
        found.values["floor.breaks"] = None
    else:
        found.open["floor.breaks"] = f"only {int(sum(followed))} breaks after {word}"
    if others or lunches:
        found.open["floor.shifts.lunch"] = (
            f"{lunches} pauses of half an hour and more and {others} that follow no wrap-up are "
            "counted, not modelled"
        )


def _numbers(days: RecordedDays, found: Findings) -> None:
    """Agents logged in by half-hour, their number, and shifts that reproduce it."""
    slots: dict[int, list[float]] = {}
    for day in days.days:
        agents = day.agents
        inside = agents["state"] != "off"
        begin = day.local_s(agents["from_ms"][inside])
        end = day.local_s(agents["to_ms"][inside])
        edges = day.local_s(np.array([0.0, float(day.length_ms)]))
        for slot in range(int(edges[0] // 1800), math.ceil(edges[1] / 1800)):
            lo, hi = max(slot * 1800.0, edges[0]), min((slot + 1) * 1800.0, edges[1])
            if hi - lo < 900.0:
                continue  # less than half of it is in the log
            spent = np.clip(np.minimum(end, hi) - np.maximum(begin, lo), 0.0, None).sum()
            slots.setdefault(slot, []).append(float(spent) / (hi - lo))
    if not slots:
        found.open["floor.n_agents"] = "no half-hour of a day is in the log"
        return
    source = days.days[0].agents.source.get("state", "")
    rows: list[dict[str, float]] = []
    for slot, values in sorted(slots.items()):
        mean = mean_of(values)
        rows.append({"from_h": slot / 2, "value": mean.value, "days": len(values)})
        if math.isfinite(mean.lo):
            rows[-1] |= {"lo": mean.lo, "hi": mean.hi}
    found.by_hour["agents"] = rows
    top = max(rows, key=lambda row: row["value"])
    most = mean_of(slots[int(2 * top["from_h"])])
    found.estimates.append(
        Estimate(
            "floor.n_agents",
            "agents logged in, in the fullest half-hour",
            most,
            "agents",
            "days",
            0,
            source,
        )
    )
    n_agents = max(round(most.value), 1)
    found.values["floor.n_agents"] = n_agents
    if any(row["value"] < n_agents - 0.5 for row in rows):
        found.values["floor.shifts"] = _shifts(rows)
    else:
        found.values["floor.shifts"] = []


def _shifts(rows: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Log-ins and log-outs on the half-hour whose sum is the rounded number of agents."""
    inside: list[float] = []
    shifts: dict[tuple[float, float], int] = {}
    last = rows[-1]["from_h"] + 0.5
    for row in [*rows, {"from_h": last, "value": 0.0}]:
        n = round(row["value"])
        while len(inside) < n:
            inside.append(row["from_h"])
        while len(inside) > n:
            key = (inside.pop(0), row["from_h"])
            shifts[key] = shifts.get(key, 0) + 1
    return [
        {"n_agents": n, "login": _clock(begin), "logout": _clock(min(end, 23.98))}
        for (begin, end), n in sorted(shifts.items())
    ]


def _clock(hour: float) -> str:
    return f"{int(hour):02d}:{round(60 * (hour % 1)):02d}"


def _figures(days: RecordedDays, found: Findings) -> None:
    """Figures of the recorded days that no scenario holds, to compare a simulation with."""
    busy, there, silent, answered = [], [], [], []
    for day in days.days:
        spent = (day.agents["to_ms"] - day.agents["from_ms"]) / 1000.0
        state = day.agents["state"]
        busy.append(float(spent[np.isin(state, _BUSY)].sum()))
        there.append(float(spent[~np.isin(state, _AWAY)].sum()))
        calls = day.calls
        if calls.has("outcome", "silent"):
            answered.append(float((calls["outcome"] == "person").sum()))
            silent.append(float((calls["silent"] != "").sum()))
    source = days.days[0].agents.source.get("state", "")
    if days.known("calls", "wrap_ms") and sum(there) > 0:
        found.estimates.append(
            Estimate(
                "figure.utilisation",
                "agents in conversation or wrap-up, of those there and not on break",
                ratio_of(busy, there, round(sum(there) / 3600)),
                "1",
                "agent-hours",
                0,
                source,
            )
        )
    if sum(answered) > 0:
        found.estimates.append(
            Estimate(
                "figure.silent_rate",
                "silent calls of the answered ones, as far as the log tells them",
                share_of(silent, answered),
                "1",
                "answered calls",
                0,
                days.days[0].calls.source.get("silent", ""),
            )
        )
