"""One training run: train, judge against the rules, show in TensorBoard, export."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from stable_baselines3.common.logger import Logger

from quietdial.agents.checkpoint import (
    ResumePoint,
    is_checkpoint,
    latest_checkpoint,
    load_policy,
    load_state,
    resume_point,
    save_checkpoint,
)
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.training import (
    RolloutReport,
    TrainedPolicy,
    train,
)
from quietdial.agents.policy import Policy, scenario_sha256
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.state import BREAK, COUNT, IDLE, IN_FLIGHT, TALK, WRAP
from quietdial.envs.scenario import Scenario, load_scenario, preset_names
from quietdial.experiments import plots, report
from quietdial.experiments.config import RunConfig
from quietdial.experiments.evaluate import (
    Report,
    Tuned,
    Verdict,
    judge,
    make_world,
    rules,
    tune,
    tune_seeds,
)
from quietdial.experiments.floor_selection import among
from quietdial.experiments.progress import progress_bar
from quietdial.experiments.run_plan import SCENARIO_FILE, Plan, floors_of
from quietdial.experiments.rundir import RunFolder, changed_versions, provenance
from quietdial.experiments.selection import Selection, kept_policies, select, sentence
from quietdial.experiments.signals import Stop
from quietdial.experiments.tensorboard import (
    FINAL,
    VERDICT_SUFFIX,
    KVWriterFormat,
    RunWriter,
    Tag,
    final_scalars,
    forget_events,
)
from quietdial.experiments.tracking import TrackingFormat, require_sink

POLICY_FOLDER = "policy"
"""Checkpoint of the tuned policy in a run folder."""

CHECKPOINTS_FOLDER = "checkpoints"
"""Checkpoints of the training in a run folder."""

LOG_FILE = "train.jsonl"
"""One row of numbers for every report of the training."""


def run_training(
    config: RunConfig,
    console: Console,
    command: str,
    *,
    on_rollout: Callable[[RolloutReport], None] | None = None,
    stop: Stop | None = None,
) -> tuple[RunFolder, Verdict | None]:
    """Do one whole run.

    Args:
        config: the complete configuration.
        console: where progress and the verdict go.
        command: the command line that asked for it, for the files it makes.
        on_rollout: told every report of the training, besides the console.
        stop: says that the run is to stop (signals.py); none: a KeyboardInterrupt alone does.

    Returns:
        The run folder and the verdict; no verdict if the run was interrupted, in which case
        `resume_training` goes on with it.

    Raises:
        ConfigError: the settings do not fit the scenario; no folder is made.
        RunFolderError: the run folder is in use or cannot be written.
    """
    plan = Plan.of(config)
    require_sink(config.track)
    if plan.floors and config.floors.own_threshold:
        with _reporting(console, "measuring:") as on_progress:
            plan = plan.with_thresholds(on_progress)
    folder = RunFolder.create(
        config.runs,
        config.name,
        plan.values,
        seeds=plan.seeds,
        command=shlex.split(command),
        files=plan.files,
    )
    return carry_out(plan, folder, console, command, on_rollout=on_rollout, stop=stop)


def resume_training(
    run: Path,
    console: Console,
    command: str,
    *,
    on_rollout: Callable[[RolloutReport], None] | None = None,
    stop: Stop | None = None,
) -> tuple[RunFolder, Verdict | None]:
    """Go on with a run that was interrupted at any moment, by anything.

    Training goes on from the newest whole checkpoint, or anew if there is none; then the run is
    judged as it would have been. Its weights are those of an undisturbed run, bit for bit.

    Args:
        run: the run folder; its own files say what is done.
        console: where progress and the verdict go.
        command: the command line that asked for it.
        on_rollout: as in :func:`run_training`.
        stop: as in :func:`run_training`.

    Returns:
        As :func:`run_training`.

    Raises:
        RunFolderError: not a run's folder, a finished run, or a process is at work in it.
    """
    run = Path(os.path.abspath(run))
    plan = Plan.of_run(run)
    folder = RunFolder.create(
        run.parent,
        run.name,
        plan.values,
        resume=True,
        seeds=plan.seeds,
        command=shlex.split(command),
    )

    def begin() -> ResumePoint | None:
        for stale in run.glob(".*.tmp"):  # files that were being written
            stale.unlink(missing_ok=True)
        point = resume_point(
            run / CHECKPOINTS_FOLDER,
            plan.config.learner.planned_steps,
            report=lambda line: console.print(f"Left out: {line}", highlight=False),
        )
        changed = changed_versions(folder.manifest["resumed_from"][-1], folder.manifest["run"])
        if changed:
            console.print(f"Not as before, so the weights may differ: {', '.join(changed)}")
        if point is None:
            console.print("There is no checkpoint to go on from: training starts anew.")
            (run / LOG_FILE).unlink(missing_ok=True)
        forget_events(run, only_verdict=point is not None)
        return point

    return carry_out(plan, folder, console, command, begin=begin, on_rollout=on_rollout, stop=stop)


@contextmanager
def _interrupted(run: RunFolder, console: Console, stop: Stop) -> Iterator[None]:
    """Make an interruption the end of a run that may go on."""
    try:
        yield
    except KeyboardInterrupt:
        if run.manifest["status"] == "finished":
            return
        run.finish("interrupted", **({} if stop.signal is None else {"signal": stop.signal}))
        console.print(
            f"Interrupted; nothing is lost. Go on with: quietdial resume {run.path}",
            highlight=False,
        )


def carry_out(
    plan: Plan,
    folder: RunFolder,
    console: Console,
    command: str,
    *,
    begin: Callable[[], ResumePoint | None] = lambda: None,
    on_rollout: Callable[[RolloutReport], None] | None = None,
    stop: Stop | None = None,
) -> tuple[RunFolder, Verdict | None]:
    """Train, judge, show and export in a run folder, and release it.

    Args:
        plan: what is done.
        folder: the folder, made for this plan.
        console: as in :func:`run_training`, like all that follow.
        command: the command line that asked for it.
        begin: prepares the folder and says where training goes on; None: from the start.
        on_rollout: told every report of the training.
        stop: says that the run is to stop.
    """
    stop = stop or Stop()
    config, scenario = plan.config, plan.scenario
    verdict: Verdict | None = None
    with folder, _interrupted(folder, console, stop):
        trained = _train(plan, folder, begin(), console, on_rollout, stop)
        folder.note(steps=trained.steps)
        if not trained.completed or stop():
            raise KeyboardInterrupt
        first = _choose(trained.policy, folder.path / CHECKPOINTS_FOLDER, plan, console)
        found = judge_with_progress(
            first.policy,
            scenario,
            console,
            target_rate=config.judge.target(scenario.rule.cap),
            n_tune_days=config.judge.tune_days,
            n_test_days=config.judge.test_days,
            first=first,
        )
        best = found.tuned[0].policy
        if not isinstance(best, LearnedPolicy):
            raise TypeError("the judged policy comes first")
        keep_chosen(folder.path, best)
        extra = {
            **provenance(command),
            "run": folder.path.name,
            "config_sha256": folder.manifest["config_sha256"],
        }
        report.write(found, folder.path, extra, command)
        with RunWriter(folder.path, suffix=VERDICT_SUFFIX) as writer:
            _show(found, best, scenario, writer, trained.steps, command)
        with TrackingFormat(config.track, folder.path, plan.values) as sink:
            _, over_best_rule = found.over_best_rule()
            sink.send(final_scalars(found.summaries[0], over_best_rule.value), trained.steps)
        exported = None
        if config.export:
            exported = _export(best, scenario, folder.path, console, command)
        folder.finish(
            "finished", verdict=report.sentences(found), weights_sha256=trained.weights_sha256
        )
        verdict = found
    if verdict is None:
        return folder, None
    print_verdict(verdict, console)
    console.print(f"Report and picture: {folder.path}/verdict.md, {folder.path}/evaluation.png")
    if exported is not None:
        console.print(
            f"Exported (same answers in numpy and onnxruntime on 10,000 vectors): {exported}\n"
            f"With a readable table, if it is good enough: quietdial export {folder.path}"
        )
    console.print(f"TensorBoard: {tensorboard_hint(folder.path.parent)}")
    return folder, verdict


def tensorboard_hint(runs: Path) -> str:
    """The command that opens TensorBoard, as this command itself was called."""
    script = Path(sys.argv[0])
    if script.is_absolute() and script.is_relative_to(Path.cwd()):
        script = script.relative_to(Path.cwd())
    name = str(script) if script.name == "quietdial" else "quietdial"
    return f"{name} tensorboard {runs}"


def print_verdict(verdict: Verdict, console: Console) -> None:
    """The table and the sentences."""
    console.print()
    console.print(report.table(verdict))
    console.print()
    console.print("[bold]Verdict[/]")
    for line in report.sentences(verdict):
        console.print(f"  - {line}")
    console.print()


@contextmanager
def _reporting(console: Console, verb: str) -> Iterator[Report]:
    """A progress callback that moves a bar, described as `verb` and what is being done."""
    with progress_bar(console) as bar:
        task = bar.add_task(verb, total=1.0)
        yield lambda label, share: bar.update(task, description=f"{verb} {label}", completed=share)


def _train(
    plan: Plan,
    folder: RunFolder,
    point: ResumePoint | None,
    console: Console,
    told: Callable[[RolloutReport], None] | None,
    stop: Stop,
) -> TrainedPolicy:
    """Train to the end, or until a stop is asked for."""
    learner = plan.config.learner
    trains = point is None or point.training is not None
    if trains:
        so_far = "" if point is None else f", from {point.step / 1e6:.2f} M"
        console.print(
            f"Training on [bold]{plan.words}, {learner.planned_steps / 1e6:.1f} M decisions"
            f"{so_far}. Run folder: {folder.path}"
        )
    with ExitStack() as stack:
        logger = None
        if trains:
            purge_step = None if point is None else point.step + 1
            writer = stack.enter_context(RunWriter(folder.path, purge_step))
            if point is None:
                _introduce(plan, writer)
            own = KVWriterFormat(writer, folder.path / LOG_FILE)
            sink = stack.enter_context(TrackingFormat(plan.config.track, folder.path, plan.values))
            logger = Logger(str(folder.path), [own, sink])
        bar = stack.enter_context(progress_bar(console, "live"))
        task = bar.add_task(
            "training",
            total=learner.planned_steps,
            live="",
            completed=0 if point is None else point.step,
        )
        shown = -1

        def on_rollout(rollout: RolloutReport) -> None:
            nonlocal shown
            live = (
                f"utilisation {100 * rollout.utilisation:5.1f} %  "
                f"silent {100 * rollout.silent_rate_ema:5.2f} %  "
                f"multiplier {rollout.multiplier:5.0f}  {rollout.fps / 1000:5.1f} k/s"
            )
            bar.update(task, completed=rollout.step, live=live)
            if told is not None:
                told(rollout)
            tenth = 10 * rollout.step // rollout.total_steps
            if not console.is_terminal and tenth > shown:
                shown = tenth
                console.print(f"  {rollout.step / 1e6:5.2f} M decisions  {live}")

        stop.patient = True
        try:
            return train(
                learner,
                plan.scenario,
                logger=logger,
                on_rollout=on_rollout,
                should_stop=stop,
                checkpoints=folder.path / CHECKPOINTS_FOLDER,
                make_env=plan.make_env,
                resume=point,
            )
        finally:
            stop.patient = False


def _introduce(plan: Plan, writer: RunWriter) -> None:
    """What TensorBoard shows of a run from its start: the settings and the page to look at."""
    name, scenario = plan.config.learner.algorithm, plan.scenario
    writer.config({**plan.values, "scenario_file": scenario.model_dump(mode="json")})
    writer.layout([name, *(rule.name for rule in rules())])
    settings = {"scenario": scenario.name, "cap": scenario.rule.cap}
    writer.hparams({**plan.values["learner"], **settings}, FINAL)
    writer.flush()


def _choose(newest: LearnedPolicy, checkpoints: Path, plan: Plan, console: Console) -> Tuned:
    """The best of the kept checkpoints, tuned to the target rate; its `training` says why.

    All are looked at with the knob to which the newest is tuned, as they would be deployed. After
    a training on many floors, the best on these is taken.
    """
    scenario, judge = plan.scenario, plan.config.judge
    seeds = tune_seeds(judge.tune_days)
    target = judge.target(scenario.rule.cap)
    with _reporting(console, "choosing:") as on_progress:
        tuned = tune(newest, scenario, target, seeds, report=on_progress)
        like = tuned.policy if isinstance(tuned.policy, LearnedPolicy) else newest
        policies = kept_policies(checkpoints, like)
        candidates, choice = among(policies, plan.floors, on_progress)
        selection = select(
            candidates,
            scenario,
            n_days=judge.select_days,
            most_days_above=judge.most_days_above,
            floors=choice,
            report=on_progress,
        )
        if selection.chosen.step != max(policies):
            tuned = tune(selection.policy, scenario, target, seeds, report=on_progress)
    console.print(sentence(selection.to_dict()), highlight=False)
    chosen = selection.policy
    knob = tuned.policy.knob
    return replace(tuned, policy=chosen if knob is None else chosen.with_knob(knob))


def judge_with_progress(
    policy: Policy,
    scenario: Scenario,
    console: Console,
    *,
    target_rate: float,
    n_tune_days: int,
    n_test_days: int,
    first: Tuned | None = None,
) -> Verdict:
    """Judge a learned policy against the rules, with a progress bar; see `evaluate.judge`."""
    with _reporting(console, "judging") as on_progress:
        return judge(
            [policy, *reversed(rules())],
            scenario,
            target_rate=target_rate,
            n_tune_days=n_tune_days,
            n_test_days=n_test_days,
            first=first,
            report=on_progress,
        )


def keep_chosen(run: Path, policy: LearnedPolicy) -> Path:
    """Save the chosen policy of a run as its policy, in place of an earlier one.

    Args:
        run: the run folder.
        policy: one of its checkpoints, with the knob and the selection that it has now.

    Returns:
        The folder of the saved policy.
    """
    step = int((policy.training or {}).get("step", -1))
    state = load_state(run / CHECKPOINTS_FOLDER / f"step-{step}").showing(policy)
    shutil.rmtree(run / POLICY_FOLDER, ignore_errors=True)
    return save_checkpoint(run / POLICY_FOLDER, state, policy.tensors())


def select_in_run(
    run: Path, scenario: Scenario | None, console: Console, *, n_days: int, most_days_above: float
) -> Selection:
    """Choose among the checkpoints of a run (finished or interrupted) and keep the best.

    With the knob of the run's policy, if it has one already. After a training on many floors, the
    best checkpoint on these is taken.

    Args:
        run: the run folder.
        scenario: the world; None: the one that the policies were trained on.
        console: where progress goes.
        n_days: selection days.
        most_days_above: see `config.MOST_DAYS_ABOVE`.

    Raises:
        CheckpointError: the run holds no checkpoint that can be read.
    """
    has_policy = (run / POLICY_FOLDER).is_dir()
    like = load_policy(run / POLICY_FOLDER) if has_policy else None
    policies = kept_policies(run / CHECKPOINTS_FOLDER, like)
    if scenario is None:
        scenario = policy_scenario(run, policies[max(policies)])
    with _reporting(console, "choosing:") as on_progress:
        candidates, choice = among(policies, floors_of(run), on_progress)
        selection = select(
            candidates,
            scenario,
            n_days=n_days,
            most_days_above=most_days_above,
            floors=choice,
            report=on_progress,
        )
    keep_chosen(run, selection.policy)
    return selection


def load_run_policy(path: str | Path) -> LearnedPolicy:
    """The policy of a run folder (the tuned one, else its newest checkpoint) or of a checkpoint.

    Raises `CheckpointError` with one line when there is none or it is damaged.
    """
    folder = Path(path)
    for name in (POLICY_FOLDER, CHECKPOINTS_FOLDER):
        if (folder / name).is_dir():
            return load_policy(latest_checkpoint(folder / name))
    return load_policy(folder)


def policy_scenario(path: str | Path, policy: LearnedPolicy) -> Scenario:
    """The scenario that a policy was trained on.

    Args:
        path: the run folder, folder of checkpoints or checkpoint that `policy` was loaded from.
        policy: the policy.

    Returns:
        The run's `scenario.yaml`; for a checkpoint outside a run, the preset of that name.

    Raises:
        ConfigError: neither is the scenario that the policy was trained on.
    """
    folder = Path(os.path.abspath(path))
    if is_checkpoint(folder):
        folder = folder.parent
    if folder.name in (POLICY_FOLDER, CHECKPOINTS_FOLDER):
        folder = folder.parent
    file, name = folder / SCENARIO_FILE, policy.spec.scenario
    if file.is_file():
        scenario, what = load_scenario(file), f"the scenario in {file}"
    elif name in preset_names():
        scenario, what = load_scenario(name), f"the preset {name!r}"
    else:
        raise ConfigError(
            f"{path}: trained on the scenario {name!r}, which is not here; give --scenario FILE"
        )
    if scenario_sha256(scenario) != policy.spec.scenario_sha256:
        raise ConfigError(
            f"{path}: trained on another scenario of that name than {what}; give --scenario FILE"
        )
    return scenario


def default_output(path: str | Path, name: str) -> Path:
    """Where results on a policy go: into its run folder, or beside its checkpoint, never into it.

    Args:
        path: the run folder, folder of checkpoints or checkpoint.
        name: what the results are, for instance "export".
    """
    folder = Path(path)
    if not is_checkpoint(folder):
        return folder / name
    folder = Path(os.path.abspath(folder))
    return folder.with_name(f"{name}-{folder.name}")


def outside_checkpoints(out: Path) -> Path:
    """`out`, unless a checkpoint would be changed by writing there (ConfigError)."""
    absolute = Path(os.path.abspath(out))
    for folder in (absolute, *absolute.parents):
        if is_checkpoint(folder):
            raise ConfigError(f"{out} is in the checkpoint {folder}; give a folder outside of it")
    return out


def _export(
    policy: LearnedPolicy, scenario: Scenario, folder: Path, console: Console, command: str
) -> Path | None:
    """The bundle of a finished run, without a table; None if the policy is of no such kind."""
    from quietdial.agents.bundle.describe import why_not_exportable
    from quietdial.experiments.export import export_policy

    reason = why_not_exportable(policy)
    if reason is not None:
        console.print(f"Not exported: {reason}")
        return None
    shutil.rmtree(folder / "export", ignore_errors=True)  # of an attempt that was interrupted
    return export_policy(policy, scenario, folder / "export", console, command, run=folder)


def _show(
    verdict: Verdict,
    policy: LearnedPolicy,
    scenario: Scenario,
    writer: RunWriter,
    step: int,
    command: str,
) -> None:
    """The evaluation, the verdict and the pictures in TensorBoard."""
    writer.evaluation(verdict.summaries[1:], 0)  # the rules as flat lines from the first step on
    writer.evaluation(verdict.summaries, step)
    _, over_best_rule = verdict.over_best_rule()
    writer.scalars(final_scalars(verdict.summaries[0], over_best_rule.value), step)
    writer.text(Tag.TEXT_VERDICT, report.markdown(verdict, command), step)
    writer.figure(Tag.FIGURE_FRONTIER, report.frontier(verdict), step)
    trace, where = record_day(policy, scenario, int(verdict.days[0].seeds[0]))
    title = f"{policy.name} on {scenario.name}, one test day"
    writer.figure(Tag.FIGURE_DAY, plots.day_figure(trace, title=title), step)
    writer.figure(Tag.FIGURE_ACTION_MAP, plots.action_map_figure(where), step)
    writer.flush()


def record_day(
    policy: LearnedPolicy, scenario: Scenario, seed: int
) -> tuple[plots.DayTrace, plots.ActionMap]:
    """Play one day and keep what the pictures show: the floor over time, and where it dialed."""
    world = make_world(policy, scenario, 1)
    everywhere = np.ones(1, np.bool_)
    world.begin(everywhere, [seed])
    episode = world.scenario.episode
    n_steps = round(episode.duration_s / episode.decision_interval_s)
    columns = np.zeros((n_steps, 6))
    dialed = np.zeros(n_steps)
    silent: list[float] = []
    state: object | None = None
    before = 0.0
    for step in range(n_steps):
        head = world.state.head[0]
        columns[step] = [
            *(head[COUNT + s] for s in (TALK, WRAP, BREAK, IDLE)),
            head[IN_FLIGHT],
            step * episode.decision_interval_s,
        ]
        actions, state = policy.act(world.observe(), state)
        out = world.step(actions, everywhere)
        silent += [columns[step, 5] + episode.decision_interval_s] * int(out[0, 2])
        now = float(world.totals()["dialed"][0])
        dialed[step], before = now - before, now
    hours, minutes = (int(part) for part in episode.start.split(":"))
    trace = plots.DayTrace(
        time_s=columns[:, 5],
        talk=columns[:, 0],
        wrap=columns[:, 1],
        on_break=columns[:, 2],
        idle=columns[:, 3],
        in_flight=columns[:, 4],
        silent_s=np.array(silent),
        opens_s=3600.0 * hours + 60.0 * minutes,
    )
    return trace, plots.ActionMap.of(columns[:, 3], columns[:, 4], dialed)
