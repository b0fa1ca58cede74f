"""Training under a cap on the silent-call rate, with any algorithm of algorithms.py.

The learner maximises busy agents minus the price of silent calls above the target rate; the price
(the multiplier) follows the measured rate, or is fixed. The settings of `ppo-lagrangian` are those
that worked in the science study (sections C, E and F) and in the performance study (section 7).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from quietdial.agents.checkpoint import PolicyState, save_checkpoint
from quietdial.agents.learned_policy import LearnedPolicy, layers_from, memory_from
from quietdial.agents.learners.algorithms import actor_tensors, build_model, optimizers
from quietdial.agents.learners.cloning import warm_start
from quietdial.agents.learners.config import OFF_POLICY, SEED_STRIDE, LearnerConfig, require_cap
from quietdial.agents.learners.lagrange import Multiplier, make_multiplier
from quietdial.agents.learners.probe import Probe
from quietdial.agents.learners.sb3_env import BatchedPacing, SameStepVecEnv
from quietdial.agents.policy import Policy, PolicySpec
from quietdial.agents.rules.catalogue import rule_named
from quietdial.envs.errors import MissingExtraError
from quietdial.envs.scenario import Scenario

try:
    import torch
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.utils import safe_mean
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("torch and stable-baselines3", "train", "training") from error

__all__ = [
    "LearnerConfig",
    "RolloutReport",
    "TrainedPolicy",
    "make_training_env",
    "train",
]


@dataclass(frozen=True)
class RolloutReport:
    """What training showed since the last report; explored actions, all campaigns together.

    Attributes:
        rollout: number of the report, from 1; one for each rollout, or for several short ones.
        step: environment steps so far.
        total_steps: environment steps that will be run.
        silent_rate: silent / answered in this rollout (NaN with nothing answered).
        silent_rate_ema: the same, smoothed as the multiplier sees it.
        multiplier: price in force for the next rollout, agent-seconds per silent call.
        utilisation: (talk + wrap-up) / available agent-seconds in this rollout.
        conversations_per_agent_h: connected conversations per available agent-hour.
        dials_per_agent_h: dials per available agent-hour.
        reward: mean of the environment's own reward per decision.
        fps: environment steps per second since the last report.
        elapsed_s: wall time since the start, seconds.
        learner: the learner's own numbers (`train/loss`, ...) of the update before this rollout.
    """

    rollout: int
    step: int
    total_steps: int
    silent_rate: float
    silent_rate_ema: float
    multiplier: float
    utilisation: float
    conversations_per_agent_h: float
    dials_per_agent_h: float
    reward: float
    fps: float
    elapsed_s: float
    learner: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedPolicy:
    """What training returns.

    Attributes:
        policy: the actor after the last finished update.
        steps: environment steps that the actor was trained on.
        completed: False when training was stopped early.
        checkpoint: the last checkpoint written, or None without a checkpoint folder.
        multiplier: the multiplier's state.
        elapsed_s: wall time, seconds.
    """

    policy: LearnedPolicy
    steps: int
    completed: bool
    checkpoint: Path | None
    multiplier: Mapping[str, float | None]
    elapsed_s: float


def make_training_env(config: LearnerConfig, scenario: Scenario) -> BatchedPacing:
    """The campaigns to train on: random starts, truncation after the horizon, no fixed penalty."""
    from quietdial.envs import PacingVectorEnv

    env: BatchedPacing = PacingVectorEnv(
        config.n_envs,
        scenario,
        observation=config.observation,
        action=config.action,
        silent_penalty=0.0,
        base_theta=config.base_theta,
        knowledge=config.knowledge,
        autoreset_mode=AutoresetMode.SAME_STEP,
        start="random",
        horizon_s=min(config.horizon_s, scenario.episode.duration_s),
    )
    return env


def train(
    config: LearnerConfig,
    scenario: Scenario,
    *,
    logger: Logger | None = None,
    on_rollout: Callable[[RolloutReport], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: Path | None = None,
    make_env: Callable[[LearnerConfig, Scenario], BatchedPacing] = make_training_env,
    teacher: Policy | None = None,
) -> TrainedPolicy:
    """Train a pacing policy under the scenario's cap on the silent-call rate.

    One torch thread is used (and the old number restored). A stop, asked for by `should_stop` or by
    Ctrl-C, ends training at once: the policy of the last finished update is saved and returned.

    Args:
        config: settings.
        scenario: the world.
        logger: stable-baselines3 logger for `pacing/`, `safety/`, `train/`, `time/`; none: silent.
        on_rollout: called after every rollout (or several short ones), before the update that
            it feeds.
        should_stop: asked after every decision; True ends training.
        checkpoints: folder for checkpoints; none: nothing is written.
        make_env: how to make the campaigns, for instance many floors at once
            (:class:`~quietdial.agents.learners.floors.ManyFloors`); where these tell
            `n_agents_by_row` and `caps_by_row`, (B,) each, every row pays by its own.
        teacher: the policy that the actor starts as a copy of; none: the rule `config.warm_start`.

    Returns:
        The policy and how training ended.

    Raises:
        ConfigError: the settings do not fit the environment, or the rule has no cap.
        RunFolderError: a checkpoint cannot be written.
    """
    require_cap(scenario)
    started_s = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    env = make_env(config, scenario)
    try:
        target = config.target(scenario.rule.cap)
        caps = getattr(env, "caps_by_row", None)
        played: Scenario = getattr(env, "scenario", scenario)  # some action kinds change it
        interval_s = played.episode.decision_interval_s
        vec_env = SameStepVecEnv(
            env,
            n_agents=getattr(env, "n_agents_by_row", scenario.floor.n_agents),
            cap=target if caps is None else np.array([config.target(float(cap)) for cap in caps]),
            decision_interval_s=interval_s,
            multiplier=config.initial_multiplier,
            reward_scale=config.reward_scale,
            theta_range=config.theta_range if config.action == "theta" else None,
            conditioned=config.conditioned,
            seed=config.seed,
        )
        model = build_model(config, vec_env, interval_s)
        if teacher is not None or config.warm_start is not None:
            warm_start(
                model.policy,
                scenario,
                teacher or rule_named(config.warm_start or ""),
                observation=config.observation,
                action=config.action,
                base_theta=config.base_theta,
                seed=config.seed,
                horizon_s=config.horizon_s,
                conditioned=config.conditioned,
                knowledge=config.knowledge,
            )
        model.set_logger(logger if logger is not None else Logger(None, []))
        vec_env.seed(config.seed * SEED_STRIDE)
        keeper = _Keeper(config, _spec(config, scenario, env, interval_s), checkpoints)
        callback = _Lagrangian(
            config=config,
            vec_env=vec_env,
            multiplier=make_multiplier(config.multiplier, target, config.initial_multiplier),
            keeper=keeper,
            on_rollout=on_rollout,
            should_stop=should_stop,
            cap=scenario.rule.cap,
            started_s=started_s,
        )
        completed = True
        try:
            # what learns from a store would report by episodes: the callback does it instead
            every = None if config.algorithm in OFF_POLICY else config.rollouts_per_report
            model.learn(config.total_steps, callback=callback, log_interval=every)  # type: ignore[arg-type]
        except KeyboardInterrupt:
            completed = False
        except BaseException:
            keeper.save()  # nothing that was learned is lost, whatever went wrong
            raise
        if callback.stopped:
            completed = False
        if completed:  # the last update has no rollout after it
            for name, value in callback.probe.after(model).items():
                model.logger.record(name, value)
            keeper.keep(model, callback.multiplier)
            model.logger.dump(step=model.num_timesteps)
        checkpoint = keeper.save()
        return TrainedPolicy(
            policy=keeper.policy(),
            steps=keeper.step,
            completed=completed,
            checkpoint=checkpoint,
            multiplier=keeper.multiplier,
            elapsed_s=time.perf_counter() - started_s,
        )
    finally:
        env.close()
        torch.set_num_threads(threads)


def _spec(
    config: LearnerConfig, scenario: Scenario, env: BatchedPacing, interval_s: float
) -> PolicySpec:
    space = env.single_action_space
    return PolicySpec.of(
        scenario,
        observation=config.observation,
        action=config.action,
        fields=env.observation_spec,
        n_actions=int(space.n) if isinstance(space, spaces.Discrete) else 1,
        theta_range=config.theta_range if config.action == "theta" else None,
        conditioned=config.conditioned,
        decision_interval_s=interval_s,
        knowledge=config.knowledge,
        floors=tuple(floor.name for floor in getattr(env, "scenarios", ())),
    )


class _Keeper:
    """Holds the weights of the last finished update, and writes them as checkpoints."""

    def __init__(self, config: LearnerConfig, spec: PolicySpec, root: Path | None) -> None:
        self.step = 0
        self.multiplier: dict[str, float | None] = {}
        self._config = config
        self._spec = spec
        self._root = root
        self._weights: dict[str, NDArray[np.float32]] = {}
        self._optimizer: dict[str, NDArray[np.float32]] = {}
        self._saved: Path | None = None
        self._saved_step = -1

    def keep(self, model: BaseAlgorithm, multiplier: Multiplier) -> None:
        """Copy everything that a checkpoint holds."""
        policy: torch.nn.Module = model.policy
        named = dict(policy.named_parameters())
        weights = actor_tensors(self._config, policy)
        for name, parameter in named.items():
            weights[f"learner.{name}"] = parameter.detach().cpu().numpy().copy()
        optimizer: dict[str, NDArray[np.float32]] = {}
        for one in optimizers(policy):
            for name, parameter in named.items():
                for key, value in one.state.get(parameter, {}).items():
                    if isinstance(value, torch.Tensor):
                        optimizer[f"{name}.{key}"] = value.detach().cpu().numpy().copy()
        self._weights, self._optimizer = weights, optimizer
        self.multiplier = multiplier.state_dict()
        self.step = model.num_timesteps

    def save(self) -> Path | None:
        """Write what was kept last, once; return the newest checkpoint."""
        if self._root is not None and self._weights and self._saved_step != self.step:
            policy = self.policy()
            state = PolicyState(
                step=self.step,
                name=policy.name,
                base_theta=policy.base_theta,
                spec=self._spec,
                net=self._config.net,
                multiplier=self.multiplier,
                config=self._config.model_dump(mode="json"),
                memory=None if policy.memory is None else policy.memory.size,
            ).showing(policy)
            self._saved = save_checkpoint(
                self._root,
                state,
                self._weights,
                self._optimizer,
                keep=self._config.keep_checkpoints,
            )
            self._saved_step = self.step
        return self._saved

    def policy(self) -> LearnedPolicy:
        """The actor that was kept last."""
        config = self._config
        price = None
        if config.conditioned is not None:
            low, high = config.conditioned
            price = min(max(config.initial_multiplier, low), high)
        return LearnedPolicy(
            layers=layers_from(self._weights),
            spec=self._spec,
            base_theta=config.base_theta,
            name=config.algorithm,
            training={
                "step": self.step,
                "config": config.model_dump(mode="json"),
                "multiplier": dict(self.multiplier),
            },
            multiplier=price,
            deployed=config.deployed,
            seed=config.seed,
            memory=memory_from(self._weights),
        )


class _Lagrangian(BaseCallback):
    """Moves the multiplier after a rollout (or several), logs, reports, keeps checkpoints."""

    def __init__(
        self,
        *,
        config: LearnerConfig,
        vec_env: SameStepVecEnv,
        multiplier: Multiplier,
        keeper: _Keeper,
        on_rollout: Callable[[RolloutReport], None] | None,
        should_stop: Callable[[], bool] | None,
        cap: float,
        started_s: float,
    ) -> None:
        super().__init__()
        self.multiplier = multiplier
        self.stopped = False
        self._config = config
        self._vec_env = vec_env
        self._keeper = keeper
        self._report = on_rollout
        self._should_stop = should_stop
        self._started_s = started_s
        self._rollout = 0
        self._rollouts = 0  # short ones that are reported together count one by one here
        self._kept = -1
        self._cap = cap
        self._last: tuple[float, int] = (time.perf_counter(), 0)
        self.probe = Probe(config)

    def _on_rollout_start(self) -> None:
        """After every update (and before the first): the weights are whole."""
        for name, value in self.probe.after(self.model).items():
            self.logger.record(name, value)
        if self._kept == self._rollout:
            return
        self._kept = self._rollout
        self._keeper.keep(self.model, self.multiplier)
        if self._rollout % self._config.checkpoint_every == 0 and self._rollout:
            self._keeper.save()

    def _on_step(self) -> bool:
        if self._should_stop is not None and self._should_stop():
            self.stopped = True
        return not self.stopped

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if (self._rollouts + 1) % self._config.rollouts_per_report == 0:
            self.probe.before(self.model)  # the last update before the next report
        if self._rollouts % self._config.rollouts_per_report:
            return
        window = self._vec_env.take_window()
        silent, answered = window["window_silent"], window["window_answered"]
        weighed = silent
        if window.get("window_allowed_share", 0.0) > 0.0:  # rows with caps and agents of their own
            used = window["window_silent_share"] / window["window_allowed_share"]
            weighed = used * self.multiplier.target * answered
        price = self.multiplier.update(weighed, answered)
        if self._config.conditioned is None:
            self._vec_env.multiplier = price
        self._rollout += 1
        now_s, (then_s, then_step) = time.perf_counter(), self._last
        self._last = (now_s, self.num_timesteps)
        available_s = max(window.get("available_s", 0.0), 1e-9)
        hours = available_s / 3600.0
        rate = self.multiplier.rate
        ema = self.multiplier.rate_ema
        learner = {
            key: float(value)
            for key, value in self.logger.name_to_value.items()
            if key.startswith("train/")
        }
        report = RolloutReport(
            rollout=self._rollout,
            step=self.num_timesteps,
            total_steps=self._config.planned_steps,
            silent_rate=silent / answered if answered else math.nan,
            silent_rate_ema=math.nan if ema is None else ema,
            multiplier=self.multiplier.value,
            utilisation=(window["talk_s"] + window["wrap_s"]) / available_s,
            conversations_per_agent_h=window["connected"] / hours,
            dials_per_agent_h=window["dialed"] / hours,
            reward=window["reward"] / max(window["steps"], 1.0),
            fps=(self.num_timesteps - then_step) / max(now_s - then_s, 1e-9),
            elapsed_s=now_s - self._started_s,
            learner=learner,
        )
        if rate is not None and ema is not None:
            # calls of a rollout are many and nearly independent: a normal band is enough here
            half = 1.96 * math.sqrt(report.silent_rate / answered)
            self.logger.record("safety/silent_rate", report.silent_rate)
            self.logger.record("safety/silent_rate_lower", max(report.silent_rate - half, 0.0))
            self.logger.record("safety/silent_rate_upper", report.silent_rate + half)
            self.logger.record("safety/silent_rate_ema", report.silent_rate_ema)
        self.logger.record("safety/cost_per_agent_h", silent / hours)
        for name in ("shield_acts", "shield_calls"):
            if name in window:
                self.logger.record(f"safety/{name}_per_agent_h", window[name] / hours)
        self.logger.record("safety/cap", self._cap)
        self.logger.record("safety/target", self.multiplier.target)
        self.logger.record("safety/multiplier", report.multiplier)
        self.logger.record("pacing/utilisation", report.utilisation)
        self.logger.record("pacing/conversations_per_agent_h", report.conversations_per_agent_h)
        self.logger.record("pacing/dials_per_agent_h", report.dials_per_agent_h)
        self.logger.record("pacing/reward", report.reward)
        if self._config.algorithm in OFF_POLICY:
            self.logger.record("time/fps", int(report.fps))
            episodes = self.model.ep_info_buffer
            if episodes:
                for key, name in (("r", "rollout/ep_rew_mean"), ("l", "rollout/ep_len_mean")):
                    self.logger.record(name, safe_mean([its[key] for its in episodes]))
            self.logger.dump(step=self.num_timesteps)
        if self._report is not None:
            self._report(report)
