"""The `quietdial` command: verbs over the same validated models as the files.

Every verb imports what it needs when it runs, so that a bare installation has the verbs that need
no PyTorch. Errors that are the user's become one line on standard error and exit code 2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tyro
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table

from quietdial.envs.errors import ConfigError, MissingExtraError, QuietDialError
from quietdial.envs.scenario import describe_validation_error, load_scenario, preset_names

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

_EXTRA_OF = {
    "torch": "train",
    "stable_baselines3": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "safetensors": "train",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "simpy": "bench",
    "pyarrow": "records",
}

Args = Sequence[str]


def _parse(form: Any, args: Args, verb: str, **options: Any) -> Any:
    """Read flags into `form`; what is not allowed becomes a `ConfigError` of one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(form, args=list(args), prog=f"quietdial {verb}", **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(_one_line(complaint.getvalue(), verb)) from None


def _command(verb: str, args: Args) -> str:
    """The command that is running, as a user would type it."""
    return shlex.join(["quietdial", verb, *args])


def _one_line(complaint: str, verb: str) -> str:
    """The parser's boxed complaint without its frame, headings and links, on one line."""
    lines = [line.strip(" \u2500\u2502\u256d\u256e\u2570\u256f") for line in complaint.splitlines()]
    text = " ".join(line for line in lines[1:] if line)
    text = re.sub(r"For full helptext.*$|For further information visit \S+", "", text)
    text = re.sub(r"\d+ validation errors? for \w+ ", "", text)
    text = re.sub(r"\[type=\w+, input_value=(.+?), input_type=\w+\]", r"(not \1)", text)
    return f"{' '.join(text.split()).rstrip('.')}; see quietdial {verb} --help"


def _console() -> Console:
    """The terminal; a file or a pipe gets lines of 100 columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=100)


def _flag(args: Args, name: str) -> str | None:
    """The last value of a flag given as `--name value` or `--name=value`, or None."""
    found = [
        after if arg == name else arg.partition("=")[2]
        for arg, after in itertools.pairwise([*args, ""])
        if arg == name or arg.startswith(f"{name}=")
    ]
    return found[-1] if found else None


def _train(args: Args) -> int:
    """Train a policy, judge it against the rules, write TensorBoard logs, export it."""
    from quietdial.agents.learners.config import ALGORITHM_NAMES
    from quietdial.experiments.config import RunConfig, load_run_config
    from quietdial.experiments.train import run_training

    rest = list(args)
    default = RunConfig()
    if rest and not rest[0].startswith("-"):
        default = load_run_config(rest.pop(0))
    algorithm = _flag(rest, "--learner.algorithm")
    if algorithm in ALGORITHM_NAMES:  # its preset fills what is not given
        learner = default.learner.with_algorithm(algorithm)
        default = default.model_copy(update={"learner": learner})
    config = _parse(
        RunConfig,
        rest,
        "train",
        default=default,
        description="Train a pacing policy. Give a run configuration (YAML) first, then flags.",
    )
    _, verdict = run_training(config, _console(), _command("train", args))
    return EXIT_OK if verdict is not None else EXIT_INTERRUPTED


@dataclasses.dataclass(frozen=True)
class EvaluateArgs:
    """Judge a trained policy against the rules on the held-out days of a scenario."""

    policy: Annotated[Path, tyro.conf.Positional]
    """run folder or checkpoint folder"""
    scenario: str | None = None
    """preset name or YAML file; none: the scenario that the policy was trained on"""
    target_rate: float | None = None
    """silent / answered that every knob is tuned to; none: 0.9 of the cap"""
    tune_days: int = 48
    """days for the knobs"""
    test_days: int = 64
    """days for the figures"""
    out: Path | None = None
    """folder for the table, figures and days; none: evaluation-<scenario> in the run folder, or
    beside the checkpoint"""


def _evaluate(args: Args) -> int:
    """Judge a trained policy against the rules on held-out days."""
    asked = _parse(EvaluateArgs, args, "evaluate")
    from quietdial.experiments import report
    from quietdial.experiments.config import JudgeConfig
    from quietdial.experiments.rundir import provenance, writable_folder
    from quietdial.experiments.train import (
        default_output,
        judge_with_progress,
        load_run_policy,
        outside_checkpoints,
        policy_scenario,
        print_verdict,
    )

    policy = load_run_policy(asked.policy)
    scenario = (
        policy_scenario(asked.policy, policy)
        if asked.scenario is None
        else load_scenario(asked.scenario)
    )
    settings = JudgeConfig(
        target_rate=asked.target_rate, tune_days=asked.tune_days, test_days=asked.test_days
    )
    out = asked.out or default_output(asked.policy, f"evaluation-{scenario.name}")
    writable_folder(outside_checkpoints(out))
    console = _console()
    verdict = judge_with_progress(
        policy,
        scenario,
        console,
        target_rate=settings.target(scenario.rule.cap),
        n_tune_days=settings.tune_days,
        n_test_days=settings.test_days,
    )
    command = _command("evaluate", args)
    report.write(verdict, out, provenance(command), command)
    print_verdict(verdict, console)
    console.print(f"Table, figures and days: {out}/")
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class SelectArgs:
    """Choose among the checkpoints of a run on selection days; the best becomes its policy."""

    run: Annotated[Path, tyro.conf.Positional]
    """run folder, finished or interrupted"""
    scenario: str | None = None
    """preset name or YAML file; none: the scenario that the policy was trained on"""
    days: int = 32
    """selection days, neither tuning nor test days"""
    most_days_above: float = 0.7
    """what the upper limit of the share of days above the cap must stay below"""


def _select(args: Args) -> int:
    """Choose a run's best checkpoint: the busiest that surely keeps the cap on selection days."""
    asked = _parse(SelectArgs, args, "select")
    from quietdial.experiments.report import candidates_table
    from quietdial.experiments.selection import sentence
    from quietdial.experiments.train import select_in_run

    console = _console()
    found = select_in_run(
        asked.run,
        None if asked.scenario is None else load_scenario(asked.scenario),
        console,
        n_days=asked.days,
        most_days_above=asked.most_days_above,
    )
    console.print(candidates_table(found))
    console.print(sentence(found.to_dict()), highlight=False)
    console.print(f"Kept as the policy of the run: quietdial evaluate {asked.run}")
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class CalibrateArgs:
    """Fit the talk-time law of a scenario to a table of calls (CSV, also gzipped)."""

    calls: Annotated[Path, tyro.conf.Positional]
    """table of calls with one row per conversation"""
    column: str = "duration"
    """column with the length of the conversation [s]"""
    base: str = "italy-50"
    """scenario that everything else is taken from"""
    name: str = "calibrated"
    """name of the new scenario"""
    law: str | None = None
    """law to put in; none: the one with the best held-out likelihood"""
    source: str = ""
    """where the calls are from, for the picture and the report"""
    credit: tuple[str, ...] = ()
    """credits that the scenario must carry"""
    out: Path = Path("calibration")
    """folder for the scenario, the report and the picture"""


def _calibrate(args: Args) -> int:
    """Fit a scenario to a table of calls."""
    from quietdial.envs.calibrate import fit_talk_law, read_calls
    from quietdial.experiments.calibrate_report import summary_lines, write_calibration
    from quietdial.experiments.rundir import writable_folder

    asked = _parse(CalibrateArgs, args, "calibrate")
    base = load_scenario(asked.base)
    console = _console()
    calls = read_calls(asked.calls, asked.column)
    writable_folder(asked.out)
    calibration = fit_talk_law(calls, source=asked.source, credits=asked.credit)
    files = write_calibration(calibration, asked.out, base, name=asked.name, law=asked.law)
    rows = calibration.rows()
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
    console.print(f"Scenario: {files.scenario}\nReport: {files.report}")
    if files.figure is not None:
        console.print(f"Picture: {files.figure}")
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class ExportArgs:
    """Export a trained policy as policy.onnx and policy.json; both give torch's dials."""

    policy: Annotated[Path, tyro.conf.Positional]
    """run folder or checkpoint folder"""
    out: Path | None = None
    """folder for the two files; none: export in the run folder, or beside the checkpoint"""


def _export(args: Args) -> int:
    """Export a trained policy as one ONNX file and one JSON contract."""
    asked = _parse(ExportArgs, args, "export")
    from quietdial.agents.export import export_policy
    from quietdial.experiments.train import default_output, load_run_policy, outside_checkpoints

    policy = load_run_policy(asked.policy)
    out = asked.out or default_output(asked.policy, "export")
    folder = export_policy(policy, outside_checkpoints(out))
    _console().print(f"Exported: {folder}/policy.onnx, {folder}/policy.json")
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


def _play(args: Args) -> int:
    """Watch a floor live in the terminal under any policy."""
    from quietdial.agents.learned_policy import LearnedPolicy
    from quietdial.experiments.play import play
    from quietdial.experiments.simulate import find_policy

    asked = _parse(PlayArgs, args, "play")
    scenario = None if asked.scenario is None else load_scenario(asked.scenario)
    policy = find_policy(asked.policy)
    if scenario is None and isinstance(policy, LearnedPolicy):
        from quietdial.experiments.train import policy_scenario

        scenario = policy_scenario(Path(asked.policy), policy)
    scenario = scenario or load_scenario("italy-50")
    if asked.knob is not None:
        policy = policy.with_knob(asked.knob)
    play(policy, scenario, _console(), seed=asked.seed, speed=asked.speed, seconds=asked.seconds)
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
    records: Path | None = None
    """folder for calls.parquet, agents.parquet and inbound.parquet; none: no records"""
    picture: Path | None = None
    """PNG file for the timeline of the first episode; none: no picture"""
    json: bool = False
    """print the result as JSON"""


def _simulate(args: Args) -> int:
    """Play any scenario with any policy; write records and a picture."""
    asked = _parse(SimulateArgs, args, "simulate")
    from rich.progress import Progress

    from quietdial.experiments.rundir import writable_file, writable_folder
    from quietdial.experiments.simulate import find_policy, simulate

    scenario = load_scenario(asked.scenario)
    policy = find_policy(asked.policy)
    if asked.records is not None:
        writable_folder(asked.records)
    if asked.picture is not None:
        if asked.picture.suffix.lower() != ".png":
            raise ConfigError(f"picture = {str(asked.picture)!r} must end in .png")
        writable_file(asked.picture)
    console = _console()
    hidden = asked.json or not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar:
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
    if asked.json:
        sys.stdout.write(json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n")
        return EXIT_OK
    console.print(result.table())
    for path in result.files:
        console.print(f"Records: {path}")
    if asked.picture is not None:
        console.print(f"Picture: {asked.picture}")
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class BenchArgs:
    """Measure the speed of environment, rules or training, or repeat the study's figures."""

    what: Annotated[Literal["env", "rules", "study", "train"], tyro.conf.Positional] = "env"
    """env: speed against SimPy and SyncVectorEnv in the same run; rules: time that every pacing
    rule takes; study: the feasibility study's figures; train: frames per second of training
    against stable-baselines3's own defaults in the same run"""
    quick: bool = False
    """a few seconds, rough figures"""
    output: Path | None = None
    """JSON file for the figures"""


_BENCHES: Final = {
    "env": "env_speed",
    "rules": "rules_speed",
    "study": "study",
    "train": "train_speed",
}
"""What `quietdial bench` measures, and the module whose `run` does it."""


def _bench(args: Args) -> int:
    """Measure the speed of the environment, the rules and training, or repeat the study."""
    asked = _parse(BenchArgs, args, "bench")
    if asked.output is not None:
        from quietdial.experiments.rundir import writable_file

        writable_file(asked.output)
    module = import_module(f"quietdial.experiments.bench.{_BENCHES[asked.what]}")
    module.run(quick=asked.quick, output=asked.output, console=_console())
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class ProofArgs:
    """Prove the simulator right against what is known exactly; exit code 1 if anything fails."""

    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """parts to play; none: all"""
    quick: bool = False
    """a sample of each part, in seconds"""
    output: Path | None = None
    """JSON file for the figures of all finished parts"""
    fresh: bool = False
    """play again what is finished"""
    state: Path = Path("runs/proof")
    """folder that keeps finished parts until the sources change"""


def _proof(args: Args) -> int:
    """Prove the simulator right against closed forms and exact models."""
    asked = _parse(ProofArgs, args, "proof")
    from quietdial.experiments.proof import runner
    from quietdial.experiments.rundir import writable_file

    if asked.output is not None:
        writable_file(asked.output)
    found = runner.run(
        asked.parts,
        quick=asked.quick,
        output=asked.output,
        console=_console(),
        fresh=asked.fresh,
        state=asked.state,
        command=_command("proof", args),
    )
    return EXIT_FAILED if any(finished.failed for finished in found) else EXIT_OK


@dataclasses.dataclass(frozen=True)
class LeagueArgs:
    """Play all rules on all scenarios at equal silent rate, and show the table.

    Exit code 1 if a job failed or a rule is significantly above the exact optimum. The work folder
    keeps what is finished: after an interruption the same command goes on.
    """

    scenario: tuple[str, ...] = ()
    """preset names or YAML files; none: all presets"""
    rule: tuple[str, ...] = ()
    """participants; none: all"""
    policy: tuple[Path, ...] = ()
    """run folders of learned policies that play too"""
    rate: tuple[float, ...] = (0.03, 0.01)
    """silent / answered that every knob is tuned to"""
    half_width: float = 0.002
    """wanted half-width of the difference to marginal, utilisation (0.002: 0.2 points)"""
    least_days: int = 16
    """test days before the first look at the half-width"""
    most_days: int = 64
    """most test days; fewer in large worlds"""
    tune_agent_hours: float = 4_800.0
    """agent-hours for every knob that is tried"""
    test_agent_hours: float = 24_000.0
    """agent-hours for the figures of a rule at one rate"""
    jobs: int = os.cpu_count() or 1
    """processes"""
    work: Path = Path("runs/league")
    """folder that keeps finished jobs until what they depend on changes"""
    page: Path | None = None
    """Markdown file for the table"""
    output: Path | None = None
    """JSON file for the figures"""
    pictures: Path | None = None
    """folder for the pictures"""


def _league(args: Args) -> int:
    """Play all rules on all scenarios at equal silent rate, and show the table."""
    asked = _parse(LeagueArgs, args, "league")
    from quietdial.experiments.league.command import Outputs, run_league
    from quietdial.experiments.league.settings import Settings

    found = run_league(
        asked.scenario or preset_names(),
        Settings(
            rates=tuple(sorted(asked.rate, reverse=True)),
            half_width=asked.half_width,
            least=asked.least_days,
            most=asked.most_days,
            tune_agent_h=asked.tune_agent_hours,
            test_agent_h=asked.test_agent_hours,
        ),
        _console(),
        work=asked.work,
        processes=asked.jobs,
        only=asked.rule,
        runs=tuple(str(path) for path in asked.policy),
        outputs=Outputs(page=asked.page, result=asked.output, pictures=asked.pictures),
        command=_command("league", args),
    )
    return EXIT_OK if found.passed else EXIT_FAILED


@dataclasses.dataclass(frozen=True)
class StudyArgs:
    """Train with several seeds, judge, and record the figures of a study.

    The work folder keeps finished trainings: after an interruption the same command goes on.
    """

    name: Annotated[str, tyro.conf.Positional]
    """the result: markov-optimum, ..."""
    work: Path = Path("runs/studies")
    """folder that keeps finished trainings"""
    processes: int = os.cpu_count() or 1
    """trainings at the same time, one thread each"""
    output: Path | None = None
    """JSON file for the figures"""


def _study(args: Args) -> int:
    """Train with several seeds, judge, and record the figures of a study."""
    asked = _parse(StudyArgs, args, "study")
    from quietdial.experiments.studies.command import run_study

    run_study(
        asked.name,
        work=asked.work,
        processes=asked.processes,
        output=asked.output,
        console=_console(),
    )
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class TensorboardArgs:
    """Open TensorBoard on a folder of runs."""

    runs: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """folder of runs, or one run"""
    port: int = 6006
    """port on this machine"""


def _tensorboard(args: Args) -> int:
    """Open TensorBoard on the runs."""
    asked = _parse(TensorboardArgs, args, "tensorboard")
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


@dataclasses.dataclass(frozen=True)
class ScenariosArgs:
    """List the scenarios that are shipped, or write their pages."""

    write: Path | None = None
    """folder for a page of each scenario and the table of all; none: list them here"""
    pictures: tuple[str, ...] = ()
    """with --write: draw a simulated day of these too; 'all' draws every one (minutes)"""


def _scenarios(args: Args) -> int:
    """List the scenarios that are shipped, or write their pages."""
    asked = _parse(ScenariosArgs, args, "scenarios")
    from quietdial.experiments import scenario_pages

    console = _console()
    if asked.write is None:
        if asked.pictures:
            raise ConfigError("--pictures needs a folder; add --write docs/scenarios")
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


def _reference(args: Args) -> int:
    """Print the reference page of the environment (Markdown)."""
    if args:
        raise ConfigError(f"quietdial reference takes no arguments, not {' '.join(args)}")
    from quietdial.envs.pacing.spec import page

    sys.stdout.write(page())
    return EXIT_OK


def _rules(args: Args) -> int:
    """Print the page of the rules on silent calls (Markdown)."""
    if args:
        raise ConfigError(f"quietdial rules takes no arguments, not {' '.join(args)}")
    from quietdial.envs.regulation.page import page

    sys.stdout.write(page())
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class LimitsArgs:
    """Solve the Markov worlds exactly, play their optimum, prove bounds for realistic worlds."""

    quick: bool = False
    """half a minute, fewer worlds"""
    output: Path | None = None
    """JSON file for the figures"""
    page: Path | None = None
    """Markdown file whose tables are made anew from the figures in --output"""


def _limits(args: Args) -> int:
    """Find what no policy can exceed: exact optima, proven bounds, the blind floor."""
    asked = _parse(LimitsArgs, args, "limits")
    if asked.page is not None and asked.output is None:
        raise ConfigError("quietdial limits --page needs --output, the file of the figures")
    from quietdial.experiments.limits import refresh_page, run_limits

    run_limits(output=asked.output, quick=asked.quick, report=_console().print)
    if asked.output is not None and asked.page is not None:
        refresh_page(asked.output, asked.page)
    return EXIT_OK


def _pacing_rules(args: Args) -> int:
    """Print the page of the pacing rules (Markdown)."""
    if args:
        raise ConfigError(f"quietdial pacing-rules takes no arguments, not {' '.join(args)}")
    from quietdial.agents.rules.page import page

    sys.stdout.write(page())
    return EXIT_OK


VERBS: dict[str, Callable[[Args], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "select": _select,
    "calibrate": _calibrate,
    "export": _export,
    "play": _play,
    "simulate": _simulate,
    "bench": _bench,
    "proof": _proof,
    "league": _league,
    "study": _study,
    "limits": _limits,
    "tensorboard": _tensorboard,
    "scenarios": _scenarios,
    "reference": _reference,
    "rules": _rules,
    "pacing-rules": _pacing_rules,
}


def usage() -> str:
    """The text of `quietdial --help`."""
    lines = [
        "usage: quietdial VERB ...   (quietdial VERB --help says more)",
        "",
        "Pacing of outbound dialers: policies that keep the cap on silent calls.",
        "",
    ]
    for name, verb in VERBS.items():
        summary = (verb.__doc__ or "").splitlines()[0]
        lines.append(f"  {name:<12} {summary}")
    lines += ["", "  --version    print the version"]
    return "\n".join(lines)


def _fail(message: str) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"quietdial: error: {line}\n")
    return EXIT_USAGE


def main(argv: Args | None = None) -> int:
    """Run one command; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage() + "\n")
        return EXIT_OK if args else EXIT_USAGE
    if args[0] == "--version":
        sys.stdout.write(f"quietdial {metadata.version('quietdial')}\n")
        return EXIT_OK
    verb = VERBS.get(args[0])
    if verb is None:
        return _fail(f"unknown verb {args[0]!r}; use one of: {', '.join(VERBS)}")
    try:
        return verb(args[1:])
    except ValidationError as error:
        return _fail(describe_validation_error(error, "configuration"))
    except QuietDialError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _EXTRA_OF:
            raise
        return _fail(str(MissingExtraError(package, _EXTRA_OF[package], f"quietdial {args[0]}")))
    except KeyboardInterrupt:
        sys.stderr.write("quietdial: interrupted\n")
        return EXIT_INTERRUPTED
