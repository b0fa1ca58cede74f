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
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from quietdial.agents.checkpoint import ResumePoint, TrainingState
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.algorithms import build_model
from quietdial.agents.learners.cloning import warm_start
from quietdial.agents.learners.config import OFF_POLICY, SEED_STRIDE, LearnerConfig, require_cap
from quietdial.agents.learners.keeper import Keeper
from quietdial.agents.learners.lagrange import Multiplier, make_multiplier
from quietdial.agents.learners.probe import Probe
from quietdial.agents.learners.resume import restore, training_state
from quietdial.agents.learners.sb3_env import BatchedPacing, SameStepVecEnv
from quietdial.agents.policy import Policy, PolicySpec
from quietdial.agents.rules.catalogue import rule_named
from quietdial.envs.errors import MissingExtraError
from quietdial.envs.scenario import Scenario

try:
    import torch
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
        elapsed_s: wall time, seconds; that of an interrupted training that went on is in it.
        weights_sha256: fingerprint of all weights, of actor and critic, bit for bit.
        checkpoints_s: wall time that went into writing checkpoints since training (last) started.
    """

    policy: LearnedPolicy
    steps: int
    completed: bool
    checkpoint: Path | None
    multiplier: Mapping[str, float | None]
    elapsed_s: float
    weights_sha256: str
    checkpoints_s: float = 0.0


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
        privileged=config.critic == "privileged",
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
    resume: ResumePoint | None = None,
) -> TrainedPolicy:
    """Train a pacing policy under the scenario's cap on the silent-call rate.

    One torch thread is used (and the old number restored). A stop that `should_stop` asks for ends
    training after the update that is under way, with a checkpoint from which it goes on. Ctrl-C
    ends it at once: the policy of the last finished update is saved and returned, and training goes
    on from the last checkpoint that holds a training state.

    A training that went on, however often, ends with the same weights, bit for bit, as one that was
    never disturbed, on the same machine with the same versions of the packages.

    Args:
        config: settings.
        scenario: the world.
        logger: stable-baselines3 logger for `pacing/`, `safety/`, `train/`, `time/`; none: silent.
        on_rollout: called after every rollout (or several short ones), before the update that
            it feeds.
        should_stop: asked after every decision and update; True ends training after the update.
        checkpoints: folder for checkpoints; none: nothing is written.
        make_env: how to make the campaigns, for instance many floors at once
            (:class:`~quietdial.agents.learners.floors.ManyFloors`); where these tell
            `n_agents_by_row` and `caps_by_row`, (B,) each, every row pays by its own.
        teacher: the policy that the actor starts as a copy of; none: the rule `config.warm_start`.
        resume: where to go on, from :func:`~quietdial.agents.checkpoint.resume_point` of the same
            `checkpoints`; all other arguments as before. None: from the start.

    Returns:
        The policy and how training ended.

    Raises:
        ConfigError: the settings do not fit the environment or the checkpoint to go on from, or
            the rule has no cap.
        CheckpointError: the training state to go on from does not fit the model.
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
            priced_theta=config.priced_theta,
            seed=config.seed,
            tells_critic=config.critic == "privileged",
        )
        model = build_model(config, vec_env, interval_s)
        keeper = Keeper(config, _spec(config, scenario, env, interval_s), checkpoints)
        if resume is not None:
            keeper.go_on_from(resume)
            if resume.training is None:
                return _completed(resume, keeper)
        if resume is None and (teacher is not None or config.warm_start is not None):
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
        if resume is not None and resume.training is not None:
            callback.go_on_from(restore(resume.training, model, vec_env))
        completed = True
        try:
            model.learn(
                config.total_steps - model.num_timesteps,
                callback=callback,  # it logs, too
                log_interval=None,  # type: ignore[arg-type]
                reset_num_timesteps=resume is None,
            )
        except KeyboardInterrupt:
            completed = False
        except BaseException:
            keeper.save()  # nothing that was learned is lost, whatever went wrong
            raise
        if callback.stopped:
            completed = False
        if completed:  # the last update has no rollout after it
            callback.settle()
        return TrainedPolicy(
            policy=keeper.policy(),
            steps=keeper.step,
            completed=completed,
            checkpoint=keeper.complete() if completed else keeper.save(),
            multiplier=keeper.multiplier,
            elapsed_s=callback.elapsed_s,
            weights_sha256=keeper.weights_sha256,
            checkpoints_s=keeper.spent_s,
        )
    finally:
        env.close()
        torch.set_num_threads(threads)


def _completed(point: ResumePoint, keeper: Keeper) -> TrainedPolicy:
    """What a training returned that was complete at its last checkpoint."""
    return TrainedPolicy(
        policy=point.policy,
        steps=point.step,
        completed=True,
        checkpoint=keeper.complete(),
        multiplier=point.state.multiplier,
        elapsed_s=0.0,
        weights_sha256=point.weights_sha256,
    )


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
        priced_theta=config.priced_theta,
        decision_interval_s=interval_s,
        knowledge=config.knowledge,
        floors=tuple(floor.name for floor in getattr(env, "scenarios", ())),
    )


class _Lagrangian(BaseCallback):
    """Moves the multiplier after a rollout (or several), logs, reports, keeps checkpoints."""

    def __init__(
        self,
        *,
        config: LearnerConfig,
        vec_env: SameStepVecEnv,
        multiplier: Multiplier,
        keeper: Keeper,
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
        self._unlogged = False
        self._stop_asked = False
        self._learner: dict[str, float] = {}
        self._kept = -1
        self._cap = cap
        self._last: tuple[float, int] = (time.perf_counter(), 0)
        self.probe = Probe(config)

    @property
    def elapsed_s(self) -> float:
        """Wall time since training started, interruptions left out [s]."""
        return time.perf_counter() - self._started_s

    def go_on_from(self, own: Mapping[str, Any]) -> None:
        """Be as the callback was whose :meth:`_own` this is."""
        self.multiplier.load_state_dict(own["multiplier"])
        self._rollout, self._rollouts = int(own["rollout"]), int(own["rollouts"])
        self._learner = dict(own["learner"])
        self._started_s = time.perf_counter() - float(own["elapsed_s"])
        self._last = (time.perf_counter() - float(own["since_report_s"]), int(own["reported"]))

    def _own(self) -> dict[str, Any]:
        then_s, reported = self._last
        return {
            "multiplier": self.multiplier.state_dict(),
            "rollout": self._rollout,
            "rollouts": self._rollouts,
            "learner": self._learner,
            "elapsed_s": self.elapsed_s,
            "since_report_s": time.perf_counter() - then_s,
            "reported": reported,
        }

    def _on_training_start(self) -> None:
        """Count time from the start of training, not from where it went on."""
        its: Any = self.model
        its.start_time = time.time_ns() - int(1e9 * self.elapsed_s)
        its._num_timesteps_at_start = 0

    def _on_rollout_start(self) -> None:
        """After every update (and before the first): the weights are whole, nothing is half done.

        The one point at which a training state is taken.
        """
        stop = self._asked_to_stop()
        if self._kept == self._rollout and not stop:
            return
        self.settle()
        if self._rollout > 0 or stop:
            due = self._rollout % self._config.checkpoint_every == 0
            if due or stop:
                self._keeper.save(self._training_state, must=stop)
        elif self._config.keep_start:
            self._keeper.save()
        self.stopped = stop

    def settle(self) -> None:
        """Log the report with the update that followed it, and keep the weights."""
        for name, value in self.probe.after(self.model).items():
            self.logger.record(name, value)
        if self._unlogged:
            self._unlogged = False
            self._learner = {
                key: float(value)
                for key, value in self.logger.name_to_value.items()
                if key.startswith("train/")
            }
            self._dump()
        self._kept = self._rollout
        self._keeper.keep(self.model, self.multiplier)

    def _dump(self) -> None:
        its: Any = self.model
        if self._config.algorithm in OFF_POLICY:  # their own log counts episodes
            episodes = its.ep_info_buffer
            if episodes:
                for key, name in (("r", "rollout/ep_rew_mean"), ("l", "rollout/ep_len_mean")):
                    self.logger.record(name, safe_mean([ended[key] for ended in episodes]))
            self.logger.dump(step=self.num_timesteps)
        else:
            its.dump_logs(self._rollouts)

    def _training_state(self) -> TrainingState:
        return training_state(self.model, self._vec_env, self._own())

    def _asked_to_stop(self) -> bool:
        if self._should_stop is not None and self._should_stop():
            self._stop_asked = True
        return self._stop_asked

    def _on_step(self) -> bool:
        self._asked_to_stop()
        return not self.stopped

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self._config.rollouts_per_report:
            return
        self.probe.before(self.model)
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
        ema = self.multiplier.rate_ema
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
            learner=self._learner,
        )
        if answered and ema is not None:
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
        self._unlogged = True
        if self._report is not None:
            self._report(report)
