"""One search for a rule's numbers by evolution strategies: search, judge, show, export.

The run folder is like that of a training: configuration, manifest, scenario, one row for every
generation in `train.jsonl`, event files, `evaluation.{json,csv,png}`, `days.csv`, `verdict.md` and,
for a rule that a dialer can run, `export/`. In place of checkpoints it holds `rule.json`: the rule
with the numbers that were found. A search takes minutes, so it is not resumed.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from quietdial.agents.learners.config import require_cap
from quietdial.agents.learners.evolution import (
    INDEX_FEATURES,
    Generation,
    IndexWeights,
    Play,
    Played,
    RuleSettings,
    Searched,
    ThetaIndex,
    evolve,
)
from quietdial.agents.learners.lagrange import HIGHEST, LOWEST, MultiplierKind, make_multiplier
from quietdial.agents.policy import Policy
from quietdial.agents.rules.base import ControllerRule
from quietdial.agents.rules.catalogue import rule_named
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments import report
from quietdial.experiments.config import JudgeConfig
from quietdial.experiments.evaluate import Verdict, rules, select_seeds, tune_seeds
from quietdial.experiments.evaluate import test_seeds as judged_seeds
from quietdial.experiments.export import export_rule
from quietdial.experiments.progress import progress_bar
from quietdial.experiments.run_plan import SCENARIO_FILE
from quietdial.experiments.rundir import RunFolder, provenance
from quietdial.experiments.tensorboard import (
    FINAL,
    VERDICT_SUFFIX,
    RunWriter,
    Tag,
    final_scalars,
)
from quietdial.experiments.train import (
    LOG_FILE,
    judge_with_progress,
    print_verdict,
    tensorboard_hint,
)

INDEX: Final = "theta-index"
"""The rule whose numbers are weights, and no settings: `marginal` with a threshold that moves."""

RULE_FILE: Final = "rule.json"
"""The rule that was found, in a run folder."""


class EvolutionConfig(BaseModel):
    """Settings of the search."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    algorithm: Literal["evolution"] = Field(
        default="evolution", description="what the run is called among others"
    )
    rule: str = Field(
        default="predict1-pi",
        description="rule to begin with: one of docs/pacing-rules.md with settings, or "
        "theta-index, `marginal` with a threshold that depends on the state",
    )
    settings: tuple[str, ...] = Field(
        default=(), description="settings that are moved; none: all that are numbers"
    )
    generations: int = Field(default=15, ge=1, le=10_000, description="generations")
    pairs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="mirrored pairs of a generation; none: (4 + 3 log d) / 2"
    )
    campaigns: int = Field(
        default=64, ge=1, le=4096, description="campaigns that every candidate plays"
    )
    horizon_s: float = Field(
        default=7200.0, gt=0, le=2_678_400, description="length of a campaign, from a random start"
    )
    target_silent_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="silent / answered to search for; none: 0.95 of the rule's cap"
    )
    multiplier: MultiplierKind = Field(
        default="pi", description="how the price of a silent call follows the silent rate"
    )
    initial_multiplier: float = Field(
        default=150.0, ge=LOWEST, le=HIGHEST, description="first price, agent-s per silent call"
    )
    seed: int = Field(default=1, ge=0, le=999, description="seed of candidates and worlds")

    def searched(self) -> Searched:
        """The numbers that the search moves (ConfigError: no such rule, or it has none)."""
        if self.rule == INDEX:
            if self.settings:
                raise ConfigError(f"rule {INDEX!r} has weights, not settings; leave settings out")
            return IndexWeights()
        rule = rule_named(self.rule)
        if not isinstance(rule, ControllerRule):
            raise ConfigError(
                f"rule {self.rule!r} has no settings to search; use {INDEX!r} or a rule with "
                "settings of its own (docs/pacing-rules.md), for example 'predict1-pi'"
            )
        return RuleSettings(rule, self.settings)


class EvolveConfig(BaseModel):
    """One search, from the scenario to the exported rule."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    scenario: str = Field(default="italy-50", description="preset name or path of a YAML file")
    runs: str = Field(default="runs", description="folder of all runs")
    name: str | None = Field(default=None, description="name of the run; none: time and scenario")
    learner: EvolutionConfig = EvolutionConfig()
    judge: JudgeConfig = JudgeConfig()
    export: bool = Field(default=True, description="export the rule to the run's export/ folder")


def play_in(scenario: Scenario, horizon_s: float) -> Play:
    """Plays campaigns of a world from random starts, whole campaigns side by side.

    Args:
        scenario: the world.
        horizon_s: length of a campaign, seconds; at most an episode.
    """
    length_s = min(horizon_s, scenario.episode.duration_s)

    def play(policy: Policy, seeds: NDArray[np.int64]) -> Played:
        world = World(
            len(seeds),
            scenario,
            observation=policy.observation,
            action=policy.action,
            base_theta=policy.base_theta,
            start="random",
            horizon_s=length_s,
            **getattr(policy, "world_options", {}),
        )
        going = np.ones(len(seeds), np.bool_)
        world.begin(going, seeds.tolist())
        if getattr(policy, "constant", False):
            steps = max(round(length_s / world.scenario.episode.decision_interval_s), 1)
            world.hold(policy.act(world.observe(), None)[0], going, steps)
        else:
            state: object | None = None
            while going.any():
                actions, state = policy.act(world.observe(), state)
                going &= world.step(actions, going)[:, 4] == 0
        sums = {name: float(values.sum()) for name, values in world.totals().items()}
        available_s = max(sums["available_s"], 1e-9)
        busy = (sums["talk_s"] + sums["wrap_s"]) / available_s
        return Played(busy, sums["silent"], sums["answered"], available_s)

    return play


def search(config: EvolutionConfig, scenario: Scenario, **changes: Any) -> Policy:
    """The rule with the numbers that the search finds; `changes` as `evolve` takes them."""
    target = config.target_silent_rate or 0.95 * scenario.rule.cap
    found = evolve(
        config.searched(),
        play_in(scenario, config.horizon_s),
        make_multiplier(config.multiplier, target, config.initial_multiplier),
        **{
            "seed": config.seed,
            "n_generations": config.generations,
            "n_pairs": config.pairs,
            "n_days": config.campaigns,
            **changes,
        },
    )
    return found.policy


def rule_values(name: str, policy: Policy) -> dict[str, Any]:
    """A rule that was found as plain values: its name and its numbers."""
    if isinstance(policy, ThetaIndex):
        return {"rule": INDEX, "weights": dict(zip(INDEX_FEATURES, policy.weights, strict=True))}
    if not isinstance(policy, ControllerRule):
        raise TypeError(f"{policy.name} was not found by a search")
    names = [setting.name for setting in policy.described.settings]
    return {"rule": name, "settings": {key: getattr(policy, key) for key in names}}


def load_rule(run: Path) -> Policy:
    """The rule that a run found (ConfigError: its file is damaged)."""
    path = run / RULE_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["rule"] == INDEX:
            return ThetaIndex(tuple(float(values["weights"][name]) for name in INDEX_FEATURES))
        rule, settings = rule_named(str(values["rule"])), dict(values["settings"])
        if not isinstance(rule, ControllerRule):
            raise ConfigError(f"rule {rule.name!r} has no settings")
        return replace(rule, **settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: holds no rule that was found ({error})") from None


def exportable_rule(run: Path) -> ControllerRule:
    """The rule that a run found, for a bundle (ConfigError: bundles hold no rules of its kind)."""
    rule = load_rule(run)
    if not isinstance(rule, ControllerRule):
        raise ConfigError(f"{run}: {rule.name} decides by the state; bundles of rules do not")
    return rule


def run_search(
    config: EvolveConfig, console: Console, command: str
) -> tuple[RunFolder, Verdict | None]:
    """Do one whole search.

    Args:
        config: the complete configuration.
        console: where progress and the verdict go.
        command: the command line that asked for it, for the files it makes.

    Returns:
        The run folder and the verdict; no verdict if the search was interrupted.

    Raises:
        ConfigError: the settings do not fit the scenario; no folder is made.
        RunFolderError: the run folder cannot be written.
    """
    scenario = load_scenario(config.scenario)
    require_cap(scenario)
    searched = config.learner.searched()
    values = config.model_dump(mode="json")
    folder = RunFolder.create(
        config.runs,
        config.name,
        values,
        seeds={
            "learner": config.learner.seed,
            "tune": int(tune_seeds(2)[0]),
            "select": int(select_seeds(2)[0]),
            "test": int(judged_seeds(2)[0]),
        },
        command=shlex.split(command),
        files={SCENARIO_FILE: scenario.model_dump(mode="json", exclude_none=True)},
    )
    verdict: Verdict | None = None
    with folder:
        try:
            verdict = _carry_out(config, scenario, len(searched.start), folder, console, command)
        except KeyboardInterrupt:
            folder.finish("interrupted")
            console.print("Interrupted. A search is not resumed; start it again.")
            return folder, None
    print_verdict(verdict, console)
    console.print(f"The rule: {folder.path}/{RULE_FILE}")
    console.print(f"Report and picture: {folder.path}/verdict.md, {folder.path}/evaluation.png")
    console.print(f"TensorBoard: {tensorboard_hint(folder.path.parent)}")
    return folder, verdict


def _carry_out(
    config: EvolveConfig,
    scenario: Scenario,
    dimensions: int,
    folder: RunFolder,
    console: Console,
    command: str,
) -> Verdict:
    """Search, judge, show and export in a run folder."""
    learner = config.learner
    console.print(
        f"Searching {dimensions} numbers of [bold]{learner.rule}[/] for {scenario.name}, "
        f"{learner.generations} generations. Run folder: {folder.path}"
    )
    with RunWriter(folder.path) as writer, progress_bar(console, "live") as bar:
        shown = learner.model_dump(mode="json")
        writer.hparams({**shown, "scenario": scenario.name, "cap": scenario.rule.cap}, FINAL)
        task = bar.add_task("searching", total=learner.generations, live="")
        each = _decisions_of(learner, scenario, dimensions)

        def told(one: Generation) -> None:
            row = _row(one)
            folder.append_jsonl(LOG_FILE, {"step": one.number * each, **row})
            writer.scalars(row, one.number * each)
            live = (
                f"utilisation {100 * one.utilisation:5.1f} %  "
                f"silent {100 * one.silent_rate:5.2f} %  multiplier {one.multiplier:5.0f}"
            )
            bar.update(task, completed=one.number, live=live)

        policy = search(learner, scenario, on_generation=told)
    steps = learner.generations * each
    folder.note(steps=steps)
    found = judge_with_progress(
        policy,
        scenario,
        console,
        target_rate=config.judge.target(scenario.rule.cap),
        n_tune_days=config.judge.tune_days,
        n_test_days=config.judge.test_days,
    )
    best = found.tuned[0].policy
    write_json_atomic(folder.path / RULE_FILE, rule_values(learner.rule, best))
    extra = {
        **provenance(command),
        "run": folder.path.name,
        "config_sha256": folder.manifest["config_sha256"],
    }
    report.write(found, folder.path, extra, command)
    with RunWriter(folder.path, suffix=VERDICT_SUFFIX) as writer:
        writer.layout([best.name, *(rule.name for rule in rules())])
        writer.evaluation(found.summaries, steps)
        _, over_best_rule = found.over_best_rule()
        writer.scalars(final_scalars(found.summaries[0], over_best_rule.value), steps)
        writer.text(Tag.TEXT_VERDICT, report.markdown(found, command), steps)
    if config.export and isinstance(best, ControllerRule):
        exported = export_rule(best, scenario, folder.path / "export", command)
        console.print(f"Exported: {exported}")
    elif config.export:
        console.print(f"Not exported: {best.name} decides by the state; bundles of rules do not.")
    folder.finish("finished", verdict=report.sentences(found))
    return found


def _decisions_of(learner: EvolutionConfig, scenario: Scenario, dimensions: int) -> int:
    """Decisions that one generation plays."""
    pairs = learner.pairs or int(np.ceil((4 + 3 * np.log(dimensions)) / 2))
    length_s = min(learner.horizon_s, scenario.episode.duration_s)
    steps = max(round(length_s / scenario.episode.decision_interval_s), 1)
    return 2 * pairs * learner.campaigns * steps


def _row(one: Generation) -> dict[str, float]:
    """Numbers of a generation by tag."""
    return {
        Tag.UTILISATION.value: one.utilisation,
        Tag.SILENT_RATE.value: one.silent_rate,
        Tag.MULTIPLIER.value: one.multiplier,
        Tag.REWARD.value: one.value,
    }
