"""`quietdial frontier`: measure, tabulate, draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from quietdial.agents.policy import Policy
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic, write_text_atomic
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.bench.results import made_by, put_figures, result_file
from quietdial.experiments.evaluate import TEST_BASE, TUNE_BASE
from quietdial.experiments.frontier import report
from quietdial.experiments.frontier.measure import (
    CONDITIONED,
    OPTIMUM,
    PER_CAP,
    Frontier,
    FrontierSettings,
    measure,
)
from quietdial.experiments.rundir import writable_file, writable_folder
from quietdial.experiments.train import load_run_policy

NAME = "frontier"


@dataclass(frozen=True)
class FrontierOutputs:
    """Files to write besides those in the folder of the frontier; None: not written.

    Attributes:
        result: the figures as JSON.
        page: Markdown page with a place for the figures.
        pictures: folder of the pictures that the page shows.
    """

    result: Path | None = None
    page: Path | None = None
    pictures: Path | None = None


def run_frontier(
    sources: Sequence[str],
    settings: FrontierSettings,
    console: Console,
    *,
    out: Path,
    processes: int,
    runs: Sequence[Path] = (),
    outputs: FrontierOutputs | None = None,
    command: str = f"quietdial {NAME}",
) -> dict[str, Any]:
    """Measure the frontier of each scenario and write JSON, CSV, Markdown and pictures.

    Args:
        sources: preset names or files of scenarios.
        settings: caps, rules, trainings, days.
        console: where progress and the tables go.
        out: folder of the four files and of the trainings.
        processes: trainings at the same time.
        runs: folders of finished runs whose policies are drawn too.
        outputs: further files.
        command: command line, for the files.

    Returns:
        The content of the JSON file.
    """
    outputs = outputs or FrontierOutputs()
    settings = settings.checked()
    scenarios = [load_scenario(source) for source in sources]
    policies = _policies(runs)
    writable_folder(out)
    for path in (outputs.result, outputs.page):
        if path is not None:
            writable_file(path)
    folder = writable_folder(outputs.pictures or out)

    def tell(text: str) -> None:
        console.print(text, highlight=False)

    found = [
        measure(scenario, settings, out / "trainings", processes, policies=policies, tell=tell)
        for scenario in scenarios
    ]
    result = result_file(NAME, command, _seeds(settings), report.figures(found))
    pictures = _draw(found, folder)
    write_json_atomic(out / f"{NAME}.json", result)
    write_text_atomic(out / f"{NAME}.csv", report.as_csv(result["figures"]))
    text = report.markdown(found, [_beside(path, out) for path in pictures])
    head = f"# Throughput against silent calls\n\n{made_by(result)}\n\n"
    write_text_atomic(out / f"{NAME}.md", head + text)
    if outputs.result is not None:
        write_json_atomic(outputs.result, result)
    if outputs.page is not None:
        shown = [_beside(path, outputs.page.parent) for path in pictures]
        put_figures(outputs.page, f"{made_by(result)}\n\n{report.markdown(found, shown)}")
    for one in found:
        console.print(_table(one))
    console.print(f"Figures, table, page and pictures: {out}/")
    return result


def _policies(runs: Sequence[Path]) -> list[tuple[str, Policy]]:
    names = [run.absolute().name for run in runs]
    taken = {CONDITIONED, PER_CAP, OPTIMUM}
    for name in names:
        if name in taken or names.count(name) > 1:
            raise ConfigError(f"two policies are named {name!r}; rename one of their folders")
    return [(name, load_run_policy(run)) for name, run in zip(names, runs, strict=True)]


def _seeds(settings: FrontierSettings) -> str:
    trained = "" if settings.learner is None else f"; trainings: {settings.learner.seed}"
    return f"knobs: from {TUNE_BASE}; figures: from {TEST_BASE}, a day each{trained}"


def _draw(found: Sequence[Frontier], folder: Path) -> list[Path]:
    from quietdial.experiments.frontier.picture import frontier_picture
    from quietdial.experiments.plots import save_png

    return [
        save_png(frontier_picture(one), folder / f"{NAME}-{one.scenario}.png", dpi=100)
        for one in found
    ]


def _beside(path: Path, folder: Path) -> str:
    """How a page in a folder names a picture."""
    here, there = path.absolute(), folder.absolute()
    up = 0
    while not here.is_relative_to(there):
        there, up = there.parent, up + 1
    return "../" * up + here.relative_to(there).as_posix()


def _table(one: Frontier) -> Table:
    titles = ("tuned to", "silent [%]", "utilisation [%]", "above marginal", "agent-h per call")
    table = Table("policy", *titles, box=box.SIMPLE_HEAD, pad_edge=False, title=one.scenario)
    for curve in one.curves:
        for point in curve.points:
            summary, gap = point.summary, point.minus_reference
            price = next((p for p in curve.prices if p.low_rate == summary.silent_rate.value), None)
            table.add_row(
                curve.name,
                "" if point.cap is None else f"{100 * point.cap:g} %",
                f"{100 * summary.silent_rate.value:.2f}",
                f"{100 * summary.utilisation.value:.2f}",
                "" if gap is None or curve is one.curves[0] else gap.text(digits=2, unit=""),
                "" if price is None else f"{price.per_call_agent_h.value:.3f}",
            )
    return table
