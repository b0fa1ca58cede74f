"""`quietdial bench train`: frames of PPO training per second, and how many times SB3's defaults.

A frame is one decision of one campaign, with its share of the updates. Five ways to train the same
network by PPO on the same floor (`WAYS`) are measured one after the other in every pass, whole
iterations (rollout and update) only, on one thread; so a ratio compares figures taken within a
minute of each other. Figures are geometric means over passes with Student's interval of 95 %.
Verdicts are on the lower (share of the environment: upper) end of the ratio in CPU time of this
process, which other processes disturb less than wall time; ratios in wall time stand beside it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import torch
from gymnasium import spaces
from rich.console import Console
from rich.table import Table
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from quietdial.agents.learners.algorithms import ppo_settings
from quietdial.agents.learners.config import SEED_STRIDE, LearnerConfig
from quietdial.agents.learners.sb3_env import BatchedPacing, SameStepVecEnv
from quietdial.agents.learners.training import make_training_env, train
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.env_worlds import load_of_machine
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.bench.torch_loop import TorchPpo
from quietdial.experiments.stats import Interval, mean_interval

SCENARIO: Final = "italy-50"
COMMAND: Final = "quietdial bench train"
ENV_ID: Final = "quietdial.envs:quietdial/Pacing-v1"
DEFAULT_ENVS: Final = 8

DEFAULT: Final = "sb3-default"
WAYS: Final[dict[str, str]] = {
    DEFAULT: "SB3's PPO as it comes: 8 environments in DummyVecEnv, minibatches of 64, 10 epochs",
    "equal-epochs": "`train()` with 10 epochs and minibatches of 4,096",
    "preset": "`train()` as recommended: `LearnerConfig()`",
    "stock-policy": "SB3's PPO and MlpPolicy with the settings of the preset",
    "torch-loop": "PPO by hand in PyTorch with the settings of the preset",
}
"""Ways to train, and what each is."""

RATIOS: Final[tuple[tuple[str, str, float | None], ...]] = (
    ("equal-epochs", DEFAULT, 9.0),
    ("preset", DEFAULT, 20.0),
    ("stock-policy", DEFAULT, None),
    ("torch-loop", DEFAULT, None),
    ("preset", "stock-policy", None),
    ("preset", "torch-loop", None),
)
"""Way, the way that it is compared to, and how many times as fast it has to be."""

MOST_SHARE: Final = 0.10
"""The environment may take this share of the preset's training time."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        passes: in each, every way is measured once; at least 2.
        default_steps: decisions of a rollout of SB3's defaults: 2048; the time per frame hardly
            depends on it.
        rollouts: iterations of each other way in a pass.
        n_envs: campaigns of the other ways; none: as in `LearnerConfig`.
    """

    passes: int = 6
    default_steps: int = 2048
    rollouts: int = 1
    n_envs: int | None = None

    def __post_init__(self) -> None:
        if self.passes < 2 or self.default_steps < 8 or self.rollouts < 1:
            raise ConfigError(
                f"the benchmark needs passes >= 2 (is {self.passes}), default_steps >= 8 "
                f"(is {self.default_steps}) and rollouts >= 1 (is {self.rollouts})"
            )


QUICK: Final = Effort(passes=2, default_steps=128)


@dataclass(frozen=True)
class Spent:
    """What some iterations took.

    Attributes:
        frames: decisions of all campaigns.
        cpu_s: CPU time of this process, seconds.
        wall_s: wall time, seconds.
        env_s: CPU time of the environment's step, where it was taken, seconds.
        adapter_s: the same with what makes it an environment of SB3 with a constrained reward.
    """

    frames: int
    cpu_s: float
    wall_s: float
    env_s: float = math.nan
    adapter_s: float = math.nan


Measure = Callable[[], Spent]
"""Runs some iterations of one way."""
Report = Callable[[str], None]


@dataclass(frozen=True)
class TrainSpeed:
    """All that `bench_train` measured: for every way one `Spent` per pass, in the same order."""

    spent: Mapping[str, Sequence[Spent]]

    def fps(self, way: str, *, wall: bool = False) -> Interval:
        """Frames per second of CPU (or wall) time."""
        return _geometric([_rate(one, wall=wall) for one in self.spent[way]])

    def times(self, way: str, other: str, *, wall: bool = False) -> Interval:
        """How many times as fast one way is as another, compared within passes."""
        pairs = zip(self.spent[way], self.spent[other], strict=True)
        return _geometric([_rate(a, wall=wall) / _rate(b, wall=wall) for a, b in pairs])

    def share(self, *, adapter: bool) -> Interval:
        """Share of the preset's CPU time that the environment takes, with its adapter or not."""
        spent = self.spent["preset"]
        return mean_interval([(s.adapter_s if adapter else s.env_s) / s.cpu_s for s in spent])


def _rate(spent: Spent, *, wall: bool) -> float:
    return spent.frames / (spent.wall_s if wall else spent.cpu_s)


def _geometric(values: Sequence[float]) -> Interval:
    logs = mean_interval([math.log(value) for value in values])
    return Interval(math.exp(logs.value), math.exp(logs.lo), math.exp(logs.hi), logs.n)


# ----------------------------------------------------------------------------------- measuring


class _TimedEnv:
    """Campaigns whose steps are timed by a clock."""

    def __init__(self, env: BatchedPacing, clock: _EnvClock) -> None:
        self._env = env
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        """All else is that of the campaigns."""
        return getattr(self._env, name)

    def step(self, actions: Any) -> Any:
        """One decision of all campaigns."""
        self._clock.began_s = time.process_time()
        found = self._env.step(actions)
        self._clock.env_s += time.process_time() - self._clock.began_s
        return found


class _EnvClock:
    """CPU time of the environment's steps in a training."""

    def __init__(self) -> None:
        self.began_s = self.env_s = self.adapter_s = 0.0

    def make_env(self, config: LearnerConfig, scenario: Scenario) -> BatchedPacing:
        """The campaigns to train on, timed."""
        return cast("BatchedPacing", _TimedEnv(make_training_env(config, scenario), self))

    def lap(self) -> bool:
        """The learner has what it asked for; called after every decision. False: go on."""
        self.adapter_s += time.process_time() - self.began_s
        return False

    def now(self, frames: int) -> Spent:
        """All clocks."""
        return Spent(frames, time.process_time(), time.perf_counter(), self.env_s, self.adapter_s)


def _between(first: Spent, last: Spent) -> Spent:
    return Spent(
        last.frames - first.frames,
        last.cpu_s - first.cpu_s,
        last.wall_s - first.wall_s,
        last.env_s - first.env_s,
        last.adapter_s - first.adapter_s,
    )


def _timed(work: Callable[[], int]) -> Spent:
    """Time a piece of work that returns its frames."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    frames = work()
    return Spent(frames, time.process_time() - cpu_s, time.perf_counter() - wall_s)


def _by_train(config: LearnerConfig, scenario: Scenario, rollouts: int) -> Measure:
    """Through `train()`: from the end of its first rollout to the end of its last."""
    steps = config.rollout_steps * (rollouts + 1)
    config = config.model_copy(update={"total_steps": steps})

    def measure() -> Spent:
        clock = _EnvClock()
        marks: list[Spent] = []
        train(
            config,
            scenario,
            on_rollout=lambda report: marks.append(clock.now(report.step)),
            should_stop=clock.lap,
            make_env=clock.make_env,
        )
        return _between(marks[0], marks[-1])

    return measure


def _by_sb3(model: PPO, rollouts: int) -> Measure:
    """By a model of stable-baselines3, which goes on where it was in the pass before."""
    steps = model.n_steps * model.n_envs * rollouts

    def work() -> int:
        model.learn(steps, reset_num_timesteps=False)
        return steps

    return lambda: _timed(work)


def _default(scenario: Scenario, n_steps: int) -> PPO:
    envs = make_vec_env(ENV_ID, DEFAULT_ENVS, seed=1, env_kwargs={"scenario": scenario})
    return PPO("MlpPolicy", envs, n_steps=n_steps, device="cpu", seed=1)


def _priced(config: LearnerConfig, scenario: Scenario) -> SameStepVecEnv:
    """The campaigns of the preset, with the reward at its first price."""
    campaigns = SameStepVecEnv(
        make_training_env(config, scenario),
        n_agents=scenario.floor.n_agents,
        cap=config.target(scenario.rule.cap),
        decision_interval_s=scenario.episode.decision_interval_s,
        multiplier=config.initial_multiplier,
        reward_scale=config.reward_scale,
    )
    campaigns.seed(config.seed * SEED_STRIDE)
    return campaigns


def _by_hand(config: LearnerConfig, scenario: Scenario, rollouts: int) -> Measure:
    campaigns = _priced(config, scenario)
    shape, actions = campaigns.observation_space.shape, campaigns.action_space
    if not shape or not isinstance(actions, spaces.Discrete):
        raise ConfigError(f"{scenario.name}: the loop needs a discrete action, not {actions}")
    gamma = config.discount(scenario.episode.decision_interval_s)
    loop = TorchPpo(campaigns, config, shape[0], int(actions.n), gamma)

    def work() -> int:
        for _ in range(rollouts):
            loop.iterate()
        return config.rollout_steps * rollouts

    return lambda: _timed(work)


def _measures(effort: Effort, scenario: Scenario) -> dict[str, Measure]:
    changes: dict[str, Any] = {} if effort.n_envs is None else {"n_envs": effort.n_envs}
    preset = LearnerConfig(**changes)
    equal = LearnerConfig(n_epochs=10, batch_size=min(4096, preset.rollout_steps), **changes)
    interval_s = scenario.episode.decision_interval_s
    stock = PPO("MlpPolicy", _priced(preset, scenario), **ppo_settings(preset, interval_s))
    return {
        DEFAULT: _by_sb3(_default(scenario, effort.default_steps), 1),
        "equal-epochs": _by_train(equal, scenario, effort.rollouts),
        "preset": _by_train(preset, scenario, effort.rollouts),
        "stock-policy": _by_sb3(stock, effort.rollouts),
        "torch-loop": _by_hand(preset, scenario, effort.rollouts),
    }


def bench_train(effort: Effort | None = None, *, report: Report | None = None) -> TrainSpeed:
    """Measure all ways on one torch thread (the old number is restored).

    Args:
        effort: how much is measured; none: what is published.
        report: called with what is being measured.
    """
    effort = Effort() if effort is None else effort
    scenario = load_scenario(SCENARIO)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if report is not None:
            report("compiling")
        warm = replace(effort, default_steps=8, rollouts=1, n_envs=16)
        for measure in _measures(warm, scenario).values():
            measure()
        measures = _measures(effort, scenario)
        spent: dict[str, list[Spent]] = {way: [] for way in measures}
        for done in range(effort.passes):
            order = list(measures)
            for way in order[done % len(order) :] + order[: done % len(order)]:
                if report is not None:
                    report(f"{way}, pass {done + 1} of {effort.passes}")
                spent[way].append(measures[way]())
    finally:
        torch.set_num_threads(threads)
    return TrainSpeed(spent)


# ------------------------------------------------------------------------------------- results


def figures_of(speed: TrainSpeed) -> list[dict[str, Any]]:
    """The published numbers."""
    found: list[dict[str, Any]] = []

    def add(name: str, value: Interval, unit: str, note: str) -> None:
        found.append(figure(name, value.value, unit, value.lo, value.hi, value.n, note))

    for way in WAYS:
        for wall in (False, True):
            clock = "wall" if wall else "CPU"
            name = f"{way}/fps-{clock.lower()}"
            add(name, speed.fps(way, wall=wall), "1/s", f"frames per second of {clock} time")
    for way, other, least in RATIOS:
        for wall in (False, True):
            clock = "wall" if wall else "CPU"
            note = f"ratio of frames per second of {clock} time, within passes"
            if least is not None and not wall:
                note += f"; required: {least:g}"
            name = f"{way}/times-{other}-{clock.lower()}"
            add(name, speed.times(way, other, wall=wall), "1", note)
    for adapter in (False, True):
        name = f"preset/environment{'-and-adapter' if adapter else ''}-share"
        note = "of the CPU time of training" + (f"; required: {MOST_SHARE:g}" if adapter else "")
        add(name, speed.share(adapter=adapter), "1", note)
    return found


def verdict(found: Mapping[str, Any]) -> str:
    """`reached` or `missed` for a figure whose note names a requirement, else nothing."""
    _, required, limit = found["note"].partition("; required: ")
    if not required:
        return ""
    share = found["name"].endswith("-share")
    reached = found["hi"] <= float(limit) if share else found["lo"] >= float(limit)
    return "reached" if reached else "missed"


def render(found: Sequence[Mapping[str, Any]]) -> Table:
    """The figures for the terminal."""
    table = Table(title=f"PPO training on {SCENARIO}", title_justify="left", title_style="bold")
    table.add_column("figure")
    for name in ("value", "95 % from", "to", "verdict"):
        table.add_column(name, justify="right")
    for one in found:
        numbers = [f"{one[key]:,.{0 if one['unit'] == '1/s' else 3}f}" for key in _NUMBERS]
        table.add_row(one["name"], *numbers, verdict(one))
    return table


_NUMBERS: Final = ("value", "lo", "hi")


def run(*, quick: bool, output: Path | None, console: Console) -> dict[str, Any]:
    """`quietdial bench train`: measure, print the table, and save the results if asked to.

    Args:
        quick: rough figures in half a minute instead of some minutes; SB3's defaults are then
            measured with shorter rollouts.
        output: JSON file to write, or None.
        console: where the table and the progress go.

    Returns:
        The results as written to `output`.
    """
    loads = list(load_of_machine("before"))
    with console.status("compiling") as status:
        speed = bench_train(QUICK if quick else Effort(), report=status.update)
    loads += load_of_machine("after")
    figures = figures_of(speed)
    console.print(render(figures))
    busy = statistics.fmean(s.cpu_s / s.wall_s for way in speed.spent.values() for s in way)
    console.print(f"CPU time / wall time: {busy:.2f}", highlight=False)
    figures += [load.as_dict() for load in loads]
    found = result_file("train-speed", COMMAND, "weights, worlds and sampling: 1", figures)
    if output is not None:
        write_json_atomic(output, found)
        console.print(f"saved to {output}")
    return found
