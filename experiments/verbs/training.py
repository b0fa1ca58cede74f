"""Verbs that make a policy: train, evolve, evaluate, select, export."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from quietdial.envs.scenario import load_scenario
from quietdial.experiments.verbs.common import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    Args,
    command_of,
    console_of,
    emit,
    flag_of,
    parse,
)


def train(args: Args) -> int:
    """Train a policy, judge it against the rules, write TensorBoard logs, export it."""
    from quietdial.agents.learners.config import ALGORITHM_NAMES
    from quietdial.experiments.config import RunConfig, load_run_config
    from quietdial.experiments.train import run_training

    rest = list(args)
    default = RunConfig()
    if rest and not rest[0].startswith("-"):
        default = load_run_config(rest.pop(0))
    algorithm = flag_of(rest, "--learner.algorithm")
    if algorithm in ALGORITHM_NAMES:  # its preset fills what is not given
        learner = default.learner.with_algorithm(algorithm)
        default = default.model_copy(update={"learner": learner})
    config = parse(
        RunConfig,
        rest,
        "train",
        default=default,
        description="Train a pacing policy. Give a run configuration (YAML) first, then flags.",
    )
    from quietdial.experiments.signals import stop_on_signals

    with stop_on_signals() as stop:
        folder, verdict = run_training(config, console_of(), command_of("train", args), stop=stop)
    emit({"run": str(folder.path), **folder.manifest})
    return EXIT_OK if verdict is not None else stop.exit_code


def evolve(args: Args) -> int:
    """Search a rule's numbers by evolution strategies, judge it, write TensorBoard logs, export."""
    from quietdial.experiments.evolve import EvolveConfig, run_search

    config = parse(
        EvolveConfig,
        args,
        "evolve",
        default=EvolveConfig(),
        description="Search the numbers of a pacing rule by evolution strategies: the cheap "
        "alternative to a learner.",
    )
    folder, verdict = run_search(config, console_of(), command_of("evolve", args))
    emit({"run": str(folder.path), **folder.manifest})
    return EXIT_OK if verdict is not None else EXIT_INTERRUPTED


@dataclasses.dataclass(frozen=True)
class ResumeArgs:
    """Go on with a run that was interrupted or killed at any moment.

    It ends with the same weights, bit for bit, as if it had never been disturbed, and is judged and
    exported like any other run.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """run folder"""


def resume(args: Args) -> int:
    """Go on with a run that was interrupted or killed; its weights are the same, bit for bit."""
    asked = parse(ResumeArgs, args, "resume")
    from quietdial.experiments.signals import stop_on_signals
    from quietdial.experiments.train import resume_training

    with stop_on_signals() as stop:
        folder, verdict = resume_training(
            asked.run, console_of(), command_of("resume", args), stop=stop
        )
    emit({"run": str(folder.path), **folder.manifest})
    return EXIT_OK if verdict is not None else stop.exit_code


@dataclasses.dataclass(frozen=True)
class ReproduceArgs:
    """Do a finished run again from its folder, and compare weights and figures with the original.

    Exit code 1 if anything differs. Interrupted, the same command goes on; if the new run is
    finished already, it is compared only.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """run folder"""
    name: str | None = None
    """name of the new run, beside the original; none: <run>-again"""


def reproduce(args: Args) -> int:
    """Do a run again from its folder, compare weights and figures; exit code 1 if they differ."""
    asked = parse(ReproduceArgs, args, "reproduce")
    from quietdial.experiments.reproduce import reproduce_run
    from quietdial.experiments.signals import stop_on_signals

    with stop_on_signals() as stop:
        found = reproduce_run(
            asked.run, asked.name, console_of(), command_of("reproduce", args), stop=stop
        )
    if found is None:
        return stop.exit_code
    emit(found.to_dict())
    return EXIT_OK if found.same else EXIT_FAILED


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


def evaluate(args: Args) -> int:
    """Judge a trained policy against the rules on held-out days."""
    asked = parse(EvaluateArgs, args, "evaluate")
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
    console = console_of()
    verdict = judge_with_progress(
        policy,
        scenario,
        console,
        target_rate=settings.target(scenario.rule.cap),
        n_tune_days=settings.tune_days,
        n_test_days=settings.test_days,
    )
    command = command_of("evaluate", args)
    extra = provenance(command)
    report.write(verdict, out, extra, command)
    emit(report.to_json(verdict, extra))
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


def select(args: Args) -> int:
    """Choose a run's best checkpoint: the busiest that surely keeps the cap on selection days."""
    asked = parse(SelectArgs, args, "select")
    from quietdial.experiments.report import candidates_table
    from quietdial.experiments.selection import sentence
    from quietdial.experiments.train import select_in_run

    console = console_of()
    found = select_in_run(
        asked.run,
        None if asked.scenario is None else load_scenario(asked.scenario),
        console,
        n_days=asked.days,
        most_days_above=asked.most_days_above,
    )
    emit(found.to_dict())
    console.print(candidates_table(found))
    console.print(sentence(found.to_dict()), highlight=False)
    console.print(f"Kept as the policy of the run: quietdial evaluate {asked.run}")
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class ExportArgs:
    """Export a trained policy, or declare a rule, as a bundle that a dialer can load and verify."""

    policy: Annotated[str, tyro.conf.Positional]
    """run folder of a training or a search, checkpoint folder, or name of a rule
    (docs/pacing-rules.md)"""
    out: Path | None = None
    """folder for the bundle; none: export in the run folder, beside the checkpoint, or
    export-<rule> here"""
    scenario: str | None = None
    """preset name or YAML file; none: the scenario that the policy was trained on, italy-50 for a
    rule"""
    archive: bool = False
    """write it once more as one file, <folder>.zip"""
    sign: Path | None = None
    """private key of OpenSSH to sign the bundle with"""
    table: bool = True
    """distil a readable table and judge it; --no-table: leave it out"""


def export(args: Args) -> int:
    """Export a trained policy or a rule as a bundle: contract, graph, weights, golden vectors."""
    asked = parse(ExportArgs, args, "export")
    from quietdial.agents.bundle.write import write_archive
    from quietdial.agents.rules.catalogue import catalogue, rule_named
    from quietdial.experiments.evolve import RULE_FILE, exportable_rule
    from quietdial.experiments.export import export_policy, export_rule
    from quietdial.experiments.run_plan import SCENARIO_FILE
    from quietdial.experiments.train import (
        default_output,
        load_run_policy,
        outside_checkpoints,
        policy_scenario,
    )

    console, command, path = console_of(), command_of("export", args), Path(asked.policy)
    given = None if asked.scenario is None else load_scenario(asked.scenario)
    evolved = (path / RULE_FILE).is_file()
    if evolved or (not path.exists() and asked.policy in {entry.name for entry in catalogue()}):
        rule = exportable_rule(path) if evolved else rule_named(asked.policy)
        out = asked.out or (path / "export" if evolved else Path(f"export-{rule.name}"))
        scenario = given or load_scenario(str(path / SCENARIO_FILE) if evolved else "italy-50")
        with console.status(f"judging and checking {rule.name}"):
            folder = export_rule(rule, scenario, outside_checkpoints(out), command, key=asked.sign)
    else:
        policy = load_run_policy(path)
        scenario = given or policy_scenario(path, policy)
        with console.status("measuring, distilling and checking the policy"):
            folder = export_policy(
                policy,
                scenario,
                outside_checkpoints(asked.out or default_output(path, "export")),
                console,
                command,
                run=path,
                table=asked.table,
                key=asked.sign,
            )
    archive = write_archive(folder) if asked.archive else None
    emit({"export": str(folder), "archive": None if archive is None else str(archive)})
    console.print(f"Exported: {folder}/manifest.json and the files that it lists")
    if archive is not None:
        console.print(f"As one file: {archive}")
    return EXIT_OK
