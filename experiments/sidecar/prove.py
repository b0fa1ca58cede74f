"""`quietdial serve proof`: the storm, the steady load and the strangers' tools, as figures."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.bench.results import (
    MUST_BE_ZERO,
    broken,
    figure,
    figures_table,
    made_by,
    put_figures,
    result_file,
    share_figure,
    show_figures,
)
from quietdial.experiments.rundir import writable_file
from quietdial.experiments.sidecar.bundles import make_bundle
from quietdial.experiments.sidecar.chaos import BATCH, Chaos, Plan, Storm, damaged_copy
from quietdial.experiments.sidecar.faces import Checked, schemathesis, triton
from quietdial.experiments.sidecar.load import Load, steady_load
from quietdial.experiments.sidecar.process import example_features, free_port, running
from quietdial.experiments.stats import clopper_pearson

SEED: Final = 20_070_511
DEADLINE_S: Final = 0.050
"""What the client waits for."""

_SETTLED: Final = 0.1
"""Share of the load's time in which memory may still settle."""

Figure = dict[str, Any]


class Size(NamedTuple):
    """How large a proof is."""

    plan: Plan
    campaigns: int
    seconds: int
    examples: int
    rows: int


WHOLE: Final = Size(
    Plan(1_000_000, 25, 25, 20, 40, 10_000, 400),
    campaigns=200,
    seconds=600,
    examples=300,
    rows=1000,
)
QUICK: Final = Size(
    Plan(20_000, 2, 2, 2, 4, 300, 40), campaigns=50, seconds=20, examples=5, rows=100
)


def prove(
    size: Size, output: Path | None, console: Console, command: str, page: Path | None = None
) -> bool:
    """Play everything, show the figures, write them.

    Args:
        size: how much of it.
        output: JSON file for the figures; None: not written.
        console: where progress goes.
        command: what was typed.
        page: Markdown file whose table of figures is made anew; None: none.

    Returns:
        Whether all figures that must be 0 are 0.
    """
    if output is not None:
        writable_file(output)
    with tempfile.TemporaryDirectory(prefix="quietdial-") as name:
        folder = Path(name)
        right = tuple(make_bundle(folder / f"bundle-{i}", SEED + i) for i in (1, 2))
        wrong = damaged_copy(right[0], folder / "damaged", SEED)
        console.print("the storm: kills, freezes, clocks, strangers, bundles")
        link = folder / "current"
        link.symlink_to(right[0])
        with running(link) as sidecars:
            storm = Storm(sidecars, link, (right[0], right[1]), wrong, size.plan, SEED)
            chaos = storm.play(lambda n: console.print(f"  {n:,} decisions"))
            starts_s = sidecars.starts_s
        console.print(f"steady load: {size.campaigns} campaigns, {size.seconds} s")
        with running(right[0], port=free_port()) as sidecars:
            load = steady_load(
                sidecars,
                example_features(right[0]),
                campaigns=size.campaigns,
                seconds=size.seconds,
                report=lambda s: console.print(f"  {s} s") if s % 60 == 0 else None,
            )
        with running(right[0], port=free_port()) as sidecars:
            console.print("tritonclient")
            asked = triton(sidecars, right[0], size.rows)
            console.print("schemathesis")
            checked = schemathesis(sidecars, examples=size.examples, seed=SEED)
    figures = [
        *_of_chaos(chaos, size.plan, starts_s),
        *_of_load(load, size),
        *_of_faces(checked, asked),
    ]
    show_figures(figures, console, notes=False)
    if checked.failures:
        console.print(checked.told, highlight=False, markup=False)
    seeds = f"{SEED} and the next ones: weights, order of faults, requests"
    result = result_file("sidecar", command, seeds, figures)
    result["machine"]["load_average"] = round(os.getloadavg()[2], 1)
    if output is not None:
        write_json_atomic(output, result)
    if page is not None:
        put_figures(page, table(result))
    return not broken(figures)


def table(result: Mapping[str, Any]) -> str:
    """The figures of a result file as a table for docs/serving.md."""
    return f"{made_by(result)}\n\n{figures_table(result['figures'])}"


def _never(name: str, found: int, n: int, note: str) -> Figure:
    """A share that must be zero, with its bound."""
    return share_figure(
        name, clopper_pearson(found, n), f"{MUST_BE_ZERO}; {note}; 95 %: Clopper-Pearson"
    )


def _of_chaos(found: Chaos, plan: Plan, starts_s: Sequence[float]) -> list[Figure]:
    waits = np.sort(np.array(found.waits_s))
    faults = found.kills + found.freezes + found.jumps + found.good + found.bad
    did = (
        f"{found.kills} kills, {found.freezes} freezes, {found.jumps} clock jumps, {found.good} "
        f"right and {found.bad} damaged bundles, {plan.malformed} malformed requests, "
        f"{sum(found.loiterers.values())} clients that held their connections"
    )
    strangers = sum(found.strangers.values()) - found.strangers["nobody"]
    well = found.strangers["refused"] + found.strangers["closed"]
    by_sidecar = sum(n for who, n in found.by.items() if who.startswith("sidecar"))
    by = ", ".join(f"{who} {n:,}" for who, n in found.by.most_common())
    waited = f"for {BATCH} decisions of one dialer, deadline 50 ms; batches that were asked for"
    return [
        _never("decisions-unanswered", found.unanswered, found.asked, f"at the client; {did}"),
        _never(
            "crashes", found.crashes, faults, "sidecars that ended by themselves, of all faults"
        ),
        _never(
            "malformed-accepted",
            strangers - well,
            strangers,
            f"refused by 4xx {found.strangers['refused']}, connection closed "
            f"{found.strangers['closed']}, sent again because the sidecar was down or frozen "
            f"{found.strangers['nobody']}",
        ),
        _never(
            "damaged-bundles-taken",
            abs(found.bad - found.reloads_seen["refused"]),
            found.bad,
            "offered by hot reload; the old one must stay",
        ),
        _never(
            "right-bundles-not-taken",
            abs(found.good - found.reloads_seen["ok"]),
            found.good,
            "offered by hot reload",
        ),
        _quantile("storm-wait-p50", waits, 0.5, waited),
        _quantile("storm-wait-p99", waits, 0.99, waited),
        _quantile("storm-wait-worst", waits, 1.0, waited),
        share_figure("by-the-sidecar", clopper_pearson(by_sidecar, found.asked), by),
        share_figure(
            "by-the-policy",
            clopper_pearson(found.by["sidecar: policy"], found.asked),
            "the rest: fallbacks of the sidecar (its clock was off) and of the client (see above)",
        ),
        figure(
            "slowest-start",
            max(starts_s),
            "s",
            min(starts_s),
            max(starts_s),
            len(starts_s),
            "from the start of the process to its first answer, bundle verified; lo: the fastest",
        ),
    ]


def _of_load(load: Load, size: Size) -> list[Figure]:
    asked = size.campaigns * size.seconds
    rows = [
        _never("load-lost", load.lost, asked, "no answer within 5 s"),
        _never("load-fallbacks", load.fallbacks, asked, "not the policy's own answer"),
    ]
    faces = (("lines", "JSON lines, Unix socket"), ("http", "HTTP/1.1, loopback"))
    for face, says in faces:
        waits = load.waits(face)  # type: ignore[arg-type]
        note = f"{says}, {size.campaigns // 2} connections at one decision a second"
        for label, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("worst", 1.0)):
            rows.append(_quantile(f"load-wait-{face}-{label}", waits, q, note))
    waits = load.waits()
    late = clopper_pearson(int((waits > DEADLINE_S).sum()), len(waits))
    rows.append(share_figure("load-over-50ms", late, "a client would have fallen back"))
    settled_s = math.ceil(_SETTLED * size.seconds)
    memory = np.array(load.memory[settled_s:])
    growth = load.growth(settled_s)
    rows.append(
        figure(
            "load-memory-growth",
            growth,
            "1",
            growth,
            growth,
            len(memory),
            f"last tenth against first tenth of the time after {settled_s} s",
        )
    )
    rows.append(
        figure(
            "load-memory",
            float(np.median(memory)) / 2**20,
            "MiB",
            memory.min() / 2**20,
            memory.max() / 2**20,
            len(memory),
            "resident, one reading a second; lo and hi: least and most",
        )
    )
    share = load.cpu_s / load.elapsed_s
    note = f"of one core; {1e6 * load.cpu_s / asked:.0f} microseconds for each decision"
    rows.append(figure("load-processor", share, "1", share, share, asked, note))
    return rows


def _of_faces(checked: Checked, asked: dict[str, Any]) -> list[Figure]:
    up = bool(asked["live"]) and bool(asked["ready"])
    return [
        _never(
            "openapi-failures",
            checked.failures,
            checked.cases,
            f"schemathesis {checked.version}, all checks, {checked.operations} operations",
        ),
        _never(
            "inference-wrong",
            asked["wrong"] if up else asked["asked"],
            asked["asked"],
            f"tritonclient {asked['version']}: golden vectors as raw and as JSON tensors",
        ),
    ]


def _quantile(name: str, ascending: NDArray[np.float64], q: float, note: str) -> Figure:
    """A quantile in ms; its interval by order statistics (of the largest: from the 2nd largest)."""
    n = len(ascending)
    half = 1.96 * math.sqrt(n * q * (1 - q))
    at = min(math.ceil(q * n) - 1, n - 1)
    low, high = (max(math.floor(at - half), 0), min(math.ceil(at + half), n - 1))
    if q == 1.0:
        low = max(n - 2, 0)
    value, lo, hi = (1e3 * float(ascending[i]) for i in (at, low, high))
    return figure(name, value, "ms", lo, hi, n, note)
