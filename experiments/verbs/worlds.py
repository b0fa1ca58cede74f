"""Verbs on worlds: calibrate, play, simulate, scenarios."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich import box
from rich.table import Table

from quietdial.envs.errors import ConfigError
from quietdial.envs.scenario import load_scenario, preset_names
from quietdial.experiments.verbs.common import EXIT_OK, Args, console_of, emit, parse

if TYPE_CHECKING:
    from quietdial.experiments.calibration.talk_report import CalibrationFiles


@dataclasses.dataclass(frozen=True)
class CalibrateArgs:
    """Fit a scenario to recorded days, or its talk-time law to a table of conversations."""

    calls: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folder or files of recorded days (quietdial's records, tables of VICIdial, queue_log and CDR
    of Asterisk), or one table with a row per conversation (CSV, also gzipped)"""
    format: Literal["auto", "conversations", "records", "vicidial", "asterisk"] = "auto"
    """what the files are; auto: told by their first lines"""
    time_zone: str = "Europe/Rome"
    """of local times in the files"""
    campaign: str | None = None
    """recorded days: campaign (VICIdial) or queue (Asterisk); needed when there are several"""
    context: str | None = None
    """Asterisk: dcontext of the dialer's rows of the CDR; none: all rows are its"""
    column: str = "duration"
    """conversations: column with their length [s]"""
    base: str = "italy-50"
    """scenario that everything else is taken from"""
    name: str = "calibrated"
    """name of the new scenario"""
    law: str | None = None
    """conversations: law to put in; none: the one with the best held-out likelihood"""
    source: str = ""
    """conversations: where they are from, for the picture and the report"""
    credit: tuple[str, ...] = ()
    """credits that the scenario must carry"""
    out: Path = Path("calibration")
    """folder for the scenario, the report and the picture"""


def calibrate(args: Args) -> int:
    """Fit a scenario to recorded days, or its talk times to a table of calls."""
    from quietdial.envs.dialer_logs import is_log

    asked = parse(CalibrateArgs, args, "calibrate")
    if not asked.calls:
        raise ConfigError("calibrate needs a table of conversations, or files of recorded days")
    known = asked.format
    one = asked.calls[0]
    if known == "auto" and not (one.exists() and (len(asked.calls) > 1 or is_log(one))):
        known = "conversations"
    if known == "conversations":
        return _calibrate_talk(asked)
    return _calibrate_days(asked, known)


def _calibrate_days(asked: CalibrateArgs, known: Any) -> int:
    from quietdial.envs.dialer_logs import read_logs
    from quietdial.experiments.calibration import report
    from quietdial.experiments.calibration.scenario import calibrated, find
    from quietdial.experiments.rundir import writable_folder

    if asked.law is not None:
        raise ConfigError("--law chooses the law of a table of conversations; leave it out")
    base = load_scenario(asked.base)
    days = read_logs(
        asked.calls,
        known,
        time_zone=asked.time_zone,
        campaign=asked.campaign,
        context=asked.context,
    )
    writable_folder(asked.out)
    found = find(days)
    scenario = calibrated(found, days, base, asked.name, asked.credit)
    files = report.write(found, days, base, scenario, asked.out)
    emit({**report.as_json(found, days, base, asked.name), "files": _written(files)})
    console = console_of()
    console.print(report.table(found))
    for line in report.lines_of(found, days, base):
        console.print(line)
    _tell_files(files)
    return EXIT_OK


def _written(files: CalibrationFiles) -> dict[str, str]:
    return {"scenario": str(files.scenario), "report": str(files.report)}


def _tell_files(files: CalibrationFiles) -> None:
    console = console_of()
    console.print(f"Scenario: {files.scenario}\nReport: {files.report}")
    if files.figure is not None:
        console.print(f"Picture: {files.figure}")


def _calibrate_talk(asked: CalibrateArgs) -> int:
    """Fit the talk-time law alone."""
    from quietdial.envs.calibrate import fit_talk_law, read_calls
    from quietdial.experiments.calibration.talk_report import summary_lines, write_calibration
    from quietdial.experiments.rundir import writable_folder

    path, *others = asked.calls
    if others:
        raise ConfigError(f"{others[0]}: give one table of conversations")
    base = load_scenario(asked.base)
    console = console_of()
    calls = read_calls(path, asked.column)
    writable_folder(asked.out)
    calibration = fit_talk_law(calls, source=asked.source, credits=asked.credit)
    files = write_calibration(calibration, asked.out, base, name=asked.name, law=asked.law)
    rows = calibration.rows()
    emit({**_written(files), "laws": rows})
    table = Table(
        *(textwrap.fill(title, 11) for title in rows[0]),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    for line in summary_lines(calibration, base, asked.law):
        console.print(line)
    _tell_files(files)
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class PlayArgs:
    """Watch a floor live in the terminal."""

    policy: Annotated[str, tyro.conf.Positional] = "marginal"
    """progressive, fixed-ratio, marginal, blend, with a knob ratio:2.5, or a run's folder"""
    scenario: str | None = None
    """preset name or YAML file; none: the one a policy was trained on, italy-50 for a rule"""
    knob: float | None = None
    """value of the policy's knob; none: its own"""
    seed: int = 0
    """the day"""
    speed: float = 60.0
    """simulated seconds per real second; 0: as fast as it goes"""
    seconds: float | None = None
    """simulated seconds to play; none: the whole episode"""


def play(args: Args) -> int:
    """Watch a floor live in the terminal under any policy."""
    from quietdial.agents.learned_policy import LearnedPolicy
    from quietdial.experiments.play import play
    from quietdial.experiments.simulate import find_policy

    asked = parse(PlayArgs, args, "play")
    scenario = None if asked.scenario is None else load_scenario(asked.scenario)
    policy = find_policy(asked.policy)
    if scenario is None and isinstance(policy, LearnedPolicy):
        from quietdial.experiments.train import policy_scenario

        scenario = policy_scenario(Path(asked.policy), policy)
    scenario = scenario or load_scenario("italy-50")
    if asked.knob is not None:
        policy = policy.with_knob(asked.knob)
    play(policy, scenario, console_of(), seed=asked.seed, speed=asked.speed, seconds=asked.seconds)
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class SimulateArgs:
    """Play any scenario with any rule or policy; write records and a picture."""

    scenario: Annotated[str, tyro.conf.Positional]
    """preset name or YAML file"""
    policy: str = "marginal"
    """progressive, theta:0.02, ratio:2.5, blend:2, or the folder of a run or checkpoint"""
    days: int = 1
    """episodes played one after the other"""
    campaigns: int = 1
    """episodes played side by side"""
    seed: int = 0
    """seed of the first episode; the others follow"""
    explore: float | None = None
    """share of decisions that place one call more or fewer than the policy says, with probabilities
    that go into the records: days that another policy can be judged by (quietdial shadow)"""
    records: Path | None = None
    """folder for calls.parquet, agents.parquet, decisions.parquet, inbound.parquet; none: none"""
    picture: Path | None = None
    """PNG file for the timeline of the first episode; none: no picture"""


def simulate(args: Args) -> int:
    """Play any scenario with any policy; write records and a picture."""
    asked = parse(SimulateArgs, args, "simulate")

    from quietdial.experiments.progress import progress_bar
    from quietdial.experiments.rundir import writable_file, writable_folder
    from quietdial.experiments.simulate import exploring, find_policy, simulate

    scenario = load_scenario(asked.scenario)
    policy = exploring(find_policy(asked.policy), asked.explore, asked.seed)
    if asked.records is not None:
        writable_folder(asked.records)
    if asked.picture is not None:
        if asked.picture.suffix.lower() != ".png":
            raise ConfigError(f"picture = {str(asked.picture)!r} must end in .png")
        writable_file(asked.picture)
    console = console_of()
    with progress_bar(console, stays=False) as bar:
        task = bar.add_task(f"simulating {scenario.name}", total=1.0)
        result = simulate(
            policy,
            scenario,
            seed=asked.seed,
            n_days=asked.days,
            n_campaigns=asked.campaigns,
            records=asked.records,
            picture=asked.picture,
            report=lambda share: bar.update(task, completed=share),
        )
    emit(result.to_json())
    console.print(result.table())
    for path in result.files:
        console.print(f"Records: {path}")
    if asked.picture is not None:
        console.print(f"Picture: {asked.picture}")
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class ScenariosArgs:
    """List the scenarios that are shipped, or write their pages."""

    write: Path | None = None
    """folder for a page of each scenario and the table of all; none: list them here"""
    pictures: tuple[str, ...] = ()
    """with --write: draw a simulated day of these too; 'all' draws every one (minutes)"""


def scenarios(args: Args) -> int:
    """List the scenarios that are shipped, or write their pages."""
    asked = parse(ScenariosArgs, args, "scenarios")
    from quietdial.experiments import scenario_pages

    console = console_of()
    if asked.write is None:
        if asked.pictures:
            raise ConfigError("--pictures needs a folder; add --write docs/scenarios")
        emit({"scenarios": {n: scenario_pages.summary(load_scenario(n)) for n in preset_names()}})
        for name in preset_names():
            first = scenario_pages.summary(load_scenario(name))
            console.print(f"[bold]{name:<20}[/] {first}", no_wrap=True, overflow="ellipsis")
        return EXIT_OK
    from quietdial.experiments.rundir import writable_folder

    folder = writable_folder(asked.write)
    names = preset_names() if asked.pictures == ("all",) else asked.pictures
    pictured = [load_scenario(name) for name in names]
    for path in scenario_pages.write(folder):
        console.print(str(path))
    for scenario in pictured:
        console.print(str(scenario_pages.draw(scenario, folder)))
    return EXIT_OK
