"""`quietdial league`: plan the jobs, run what is left, write table, figures and pictures."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from quietdial.agents.rules import Marginal
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_text_atomic
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.evaluate import TEST_BASE, TUNE_BASE, make_world
from quietdial.experiments.executors import Executor, LocalExecutor, Work
from quietdial.experiments.league.entries import (
    REFERENCE,
    Entry,
    catalogue,
    entries_for,
    has_optimum,
)
from quietdial.experiments.league.jobs import FRONTIER, Job, make_frontier_job, make_job, run_job
from quietdial.experiments.league.queue import Queue, Step
from quietdial.experiments.league.rows import Excess, Results, Row, excesses, rows_of
from quietdial.experiments.league.settings import Settings
from quietdial.experiments.league.table import (
    check_text,
    page,
    terminal_table,
    write_result,
)
from quietdial.experiments.progress import duration, progress_bar
from quietdial.experiments.rundir import provenance, writable_file, writable_folder

_WORLDS = ("markov-5", "italy-5")
"""A plain and a full world: between them they need all compiled code."""


@dataclass(frozen=True)
class Found:
    """What a league found.

    Attributes:
        rows: every participant on every scenario at every rate.
        checks: the comparison with the exact optimum.
        errors: messages of jobs that failed.
    """

    rows: list[Row]
    checks: list[Excess]
    errors: list[str]

    @property
    def passed(self) -> bool:
        """Whether no job failed and nothing is above the exact optimum."""
        return not self.errors and not any(check.above for check in self.checks)


@dataclass(frozen=True)
class Outputs:
    """Files to write; None: not written.

    Attributes:
        page: the table as Markdown.
        result: the figures as JSON.
        pictures: folder of the pictures.
    """

    page: Path | None = None
    result: Path | None = None
    pictures: Path | None = None

    def check(self) -> None:
        """Make sure before the long work that all can be written."""
        for path in (self.page, self.result):
            if path is not None:
                writable_file(path)
        if self.pictures is not None:
            writable_folder(self.pictures)


@contextmanager
def on_processes(number: int, work: Work) -> Iterator[Executor]:
    """An executor of processes of this machine."""
    yield LocalExecutor(number, work)


def run_league(
    sources: Sequence[str],
    settings: Settings,
    console: Console,
    *,
    work: Path,
    processes: int,
    only: Sequence[str] = (),
    runs: Sequence[str] = (),
    outputs: Outputs | None = None,
    command: str = "quietdial league",
    where: Callable[[int, Work], AbstractContextManager[Executor]] = on_processes,
) -> Found:
    """Play the league, or what is left of it, and write what was found.

    Args:
        sources: preset names or files of scenarios.
        settings: rates and days.
        console: where progress and the summary go.
        work: folder of the jobs' results.
        processes: jobs that run at the same time.
        only: names of participants; none: all. The reference plays always.
        runs: folders of learned policies.
        outputs: files to write.
        command: command line, for the files.
        where: gives what does the jobs, from the number of them at a time and what does one.

    Raises:
        ConfigError: a scenario, participant or setting is not allowed.
        KeyboardInterrupt: what was finished is kept; the same call goes on from there.
    """
    outputs = outputs or Outputs()
    outputs.check()
    writable_folder(work)
    scenarios = [(source, load_scenario(source)) for source in sources]
    queue = Queue(work, _jobs(scenarios, settings, tuple(only), tuple(runs)))
    if queue.left:
        _compile({name for _, name in queue.left}, console)
        with where(processes, run_job) as executor:
            _run(queue, executor, console)
    found = _found(queue, [scenario for _, scenario in scenarios])
    if outputs.result is not None:
        head = {
            **provenance(command),
            "seeds": f"knobs: from {TUNE_BASE}; figures: from {TEST_BASE}, a day each",
            "settings": settings.to_dict(),
        }
        write_result(outputs.result, head, found.rows, found.checks)
        console.print(f"Figures: {outputs.result}")
    pictures = _draw(queue.results, found.rows, settings, outputs.pictures)
    if outputs.page is not None:
        beside = outputs.page.parent
        text = page(
            [scenario for _, scenario in scenarios],
            found.rows,
            found.checks,
            settings,
            command,
            _notes(queue.results),
            [p.relative_to(beside).as_posix() for p in pictures if p.is_relative_to(beside)],
        )
        write_text_atomic(outputs.page, text)
    for kind, paths in (("Table", [outputs.page]), ("Picture", pictures)):
        for path in paths:
            if path is not None:
                console.print(f"{kind}: {path}")
    _say(found, settings, console)
    return found


def _draw(
    results: Results, rows: Sequence[Row], settings: Settings, folder: Path | None
) -> list[Path]:
    """Draw the pictures, if a folder is given for them."""
    if folder is None:
        return []
    from quietdial.experiments.league import picture  # needs matplotlib

    return picture.draw(results, rows, settings, folder)


def _jobs(
    scenarios: Sequence[tuple[str, Scenario]],
    settings: Settings,
    only: tuple[str, ...],
    runs: tuple[str, ...],
) -> list[tuple[str, Job]]:
    """All jobs, by the name of their scenario."""
    known: set[str] = set()
    found: list[tuple[str, Job]] = []
    for source, scenario in scenarios:
        for entry in entries_for(scenario, runs):
            known.add(entry.name)
            if not only or entry.name in (*only, REFERENCE):
                job = make_job(source, scenario, entry, settings, runs)
                found.append((scenario.name, job))
        if has_optimum(scenario):
            found.append((scenario.name, make_frontier_job(source, scenario)))
    unknown = sorted(set(only) - known)
    if unknown:
        raise ConfigError(
            f"no participant {unknown[0]!r} on these scenarios; use: {', '.join(sorted(known))}"
        )
    return found


def _compile(names: Container[str], console: Console) -> None:
    """Compile the kernels and the controllers once, so that the workers find them on disk."""
    entries: Sequence[Entry] = [entry for entry in catalogue() if entry.name in names]
    with console.status("compiling the simulator, the first time for a minute or more"):
        for name in _WORLDS:
            scenario = load_scenario(name)
            for policy in (Marginal(0.02), *(entry.policy for entry in entries if entry.policy)):
                try:
                    world = make_world(policy, scenario, 1)
                except ConfigError:
                    continue  # it cannot play this scenario; its job says why
                everywhere = np.ones(1, np.bool_)
                world.begin(everywhere, [0])
                actions, _ = policy.act(world.observe(), None)
                world.step(actions, everywhere)
                world.totals()


def _run(queue: Queue, executor: Executor, console: Console) -> None:
    """Do what is left, with a bar on a terminal and a line now and then elsewhere."""
    total, done = len(queue.by_key), len(queue.results)
    kept = f", {done} finished before" if done else ""
    console.print(f"{total} jobs{kept}; {executor.slots} at a time. Results: {queue.work}/")
    with progress_bar(console, stays=False) as bar:
        task = bar.add_task("league", total=total, completed=done)
        shown = done

        def on_step(step: Step) -> None:
            nonlocal shown
            scenario, name = step.key
            bar.update(task, completed=step.done, description=f"{scenario} {name}")
            if step.error:
                console.print(f"[red]failed[/]: {name} on {scenario}: {escape(step.error)}")
            if not console.is_terminal and step.done - shown >= max(total // 20, 1):
                shown = step.done
                left = "" if step.left_s is None else f"about {duration(step.left_s)} left"
                console.print(f"  {step.done} of {total} jobs, {left}")

        try:
            queue.run(executor, on_step)
        except KeyboardInterrupt:
            console.print(
                f"Interrupted: {len(queue.results)} of {total} jobs are done and kept in "
                f"{queue.work}/; the same command goes on from there."
            )
            raise


def _found(queue: Queue, scenarios: Sequence[Scenario]) -> Found:
    rows = [row for scenario in scenarios for row in rows_of(scenario, queue.results)]
    errors = [f"{name} on {scenario}: {text}" for (scenario, name), text in queue.errors.items()]
    return Found(rows, excesses(queue.results), errors)


def _notes(results: Results) -> dict[str, list[str]]:
    """Which participants cannot play a scenario, and why."""
    notes: dict[str, list[str]] = {}
    for (scenario, name), result in results.items():
        if result["status"] == "unfit" and name != FRONTIER:
            notes.setdefault(scenario, []).append(f"`{name}` cannot play it: {result['message']}.")
    return notes


def _say(found: Found, settings: Settings, console: Console) -> None:
    if found.rows:
        console.print(terminal_table(found.rows, settings))
    if found.checks:
        console.print(check_text(found.checks).replace("**", ""))
    for text in found.errors:
        console.print(f"[red]failed[/]: {escape(text)}")
