"""Verbs for looking at runs: runs, compare, tensorboard."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Annotated

import tyro

from quietdial.envs.errors import ConfigError, MissingExtraError
from quietdial.experiments.verbs.common import (
    EXIT_OK,
    Args,
    command_of,
    console_of,
    emit,
    parse,
)


@dataclasses.dataclass(frozen=True)
class RunsArgs:
    """List all runs of a folder with their status and key figures."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """folder of runs, or one run"""


def runs(args: Args) -> int:
    """List all runs with their status and key figures."""
    asked = parse(RunsArgs, args, "runs")
    from quietdial.experiments.runs import list_runs, runs_table, troubles

    rows = list_runs(asked.folder)
    emit({"folder": str(asked.folder), "runs": [row.to_dict() for row in rows]})
    console = console_of()
    if not rows:
        console.print(f"{asked.folder} holds no run; make one with: quietdial train")
        return EXIT_OK
    console.print(runs_table(rows))
    for line in troubles(rows):
        console.print(line, markup=False)
    if any(row.status == "killed" for row in rows):
        console.print("killed: its process is gone; go on with: quietdial resume RUN")
    console.print(
        "Figures on the test days; limit: upper end of the 95 % interval, which must be within "
        "the cap. Best rule: at equal silent rate. Which is better, and why: quietdial compare"
    )
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class CompareArgs:
    """Compare judged runs: which keeps the cap, and what does it cost?"""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """runs, or folders of runs"""
    out: Path = Path("comparison")
    """folder for report, figures and TensorBoard's aggregate runs"""
    by: str = "learner.algorithm"
    """setting that makes the groups, such as learner.net; run: every run by itself"""
    page: Path | None = None
    """Markdown file that gets the report too, with its pictures in figures/ beside it"""


def compare(args: Args) -> int:
    """Say which run keeps the cap and what it costs; write a report and aggregate runs."""
    asked = parse(CompareArgs, args, "compare")
    if not asked.runs:
        raise ConfigError("give at least one run, or a folder of runs: quietdial compare runs")
    from quietdial.experiments.comparison.command import compare_runs
    from quietdial.experiments.comparison.words import QUESTION, answer, title

    console = console_of()
    with console.status("reading and comparing the runs"):
        command = command_of("compare", args)
        found = compare_runs(asked.runs, asked.out, asked.by, command, asked.page)
    emit(found.result)
    console.print(f"[bold]{QUESTION}[/]")
    for section in found.sections:
        if len(found.sections) > 1:
            console.print(f"\n{title(section)}")
        for line in answer(section):
            console.print("  - " + line.replace("**", "").replace("`", ""), markup=False)
    for one in found.left_out:
        console.print(f"Left out: {one.name}: {one.reason}", markup=False)
    console.print(f"Report: {found.folder}/comparison.html, {found.folder}/comparison.md")
    console.print(f"TensorBoard: quietdial tensorboard {found.folder}/tensorboard")
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class TensorboardArgs:
    """Open TensorBoard on a folder of runs."""

    runs: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """folder of runs, or one run"""
    port: int = 6006
    """port on this machine"""


def tensorboard(args: Args) -> int:
    """Open TensorBoard on the runs."""
    asked = parse(TensorboardArgs, args, "tensorboard")
    if not 1 <= asked.port <= 65_535:
        raise ConfigError(f"port = {asked.port} must be between 1 and 65535")
    if not asked.runs.is_dir():
        raise ConfigError(f"{asked.runs} is not a folder; give the folder of the runs")
    beside = Path(sys.executable).parent / "tensorboard"
    program = str(beside) if beside.exists() else shutil.which("tensorboard")
    if program is None:
        raise MissingExtraError("tensorboard", "train", "quietdial tensorboard")
    import subprocess  # our own installed program, fixed arguments

    address = ["--host", "127.0.0.1", "--port", str(asked.port)]
    command = [program, "--logdir", str(asked.runs), *address]
    try:
        return subprocess.run(command, check=False).returncode  # noqa: S603
    except KeyboardInterrupt:
        return EXIT_OK
