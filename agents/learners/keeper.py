"""Holds the weights of the last finished update, and writes them as checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.checkpoint import (
    PolicyState,
    ResumePoint,
    TrainingState,
    prune_checkpoints,
    save_checkpoint,
    weights_sha256,
)
from quietdial.agents.learned_policy import LearnedPolicy, layers_from, memory_from
from quietdial.agents.learners.algorithms import actor_tensors
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.lagrange import Multiplier
from quietdial.agents.policy import PolicySpec
from quietdial.envs.errors import ConfigError, MissingExtraError

try:
    from stable_baselines3.common.base_class import BaseAlgorithm
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("torch and stable-baselines3", "train", "training") from error

MOST_COST: Final = 0.02
"""Most time that writing training states may take, as a share of training."""

SMALL_BYTES: Final = 16 * 1024 * 1024
"""A training state that is not larger is written with every checkpoint."""


class Keeper:
    """The weights after an update, their policy, and the checkpoints of a training.

    Args:
        config: settings of the learner.
        spec: the world and interface of the policy.
        root: folder of the checkpoints; none: nothing is written.
    """

    def __init__(self, config: LearnerConfig, spec: PolicySpec, root: Path | None) -> None:
        self.step = 0
        self.spent_s = 0.0
        self.multiplier: dict[str, float | None] = {}
        self._config = config
        self._spec = spec
        self._root = root
        self._weights: dict[str, NDArray[np.float32]] = {}
        self._saved: Path | None = None
        self._saved_step = -1
        self._cost_s = 0.0
        self._bytes = 0
        self._written_s = time.perf_counter()

    def go_on_from(self, point: ResumePoint) -> None:
        """Take a checkpoint for the one written last (ConfigError: it is of another training)."""
        there, now = LearnerConfig.model_validate(point.state.config), self._config
        for name in type(now).model_fields:
            if getattr(there, name) != getattr(now, name):
                raise ConfigError(
                    f"{point.path}: learner.{name} = {getattr(there, name)!r} there, "
                    f"{getattr(now, name)!r} now; training goes on with its own settings only"
                )
        if point.state.spec != self._spec:
            raise ConfigError(
                f"{point.path}: trained on another scenario or interface "
                f"({point.state.spec.scenario!r}, {point.state.spec.scenario_sha256[:12]}) than "
                f"this one ({self._spec.scenario!r}, {self._spec.scenario_sha256[:12]})"
            )
        self._saved, self._saved_step = point.path, point.step

    def keep(self, model: BaseAlgorithm, multiplier: Multiplier) -> None:
        """Copy all weights."""
        weights = actor_tensors(self._config, model.policy)
        for name, parameter in model.policy.named_parameters():
            weights[f"learner.{name}"] = parameter.detach().cpu().numpy().copy()
        self._weights = weights
        self.multiplier = multiplier.state_dict()
        self.step = model.num_timesteps

    def save(
        self, training: Callable[[], TrainingState] | None = None, *, must: bool = False
    ) -> Path | None:
        """Write what was kept last, once; return the newest checkpoint.

        Args:
            training: gathers what training needs to go on from here; none: it cannot.
            must: write that whatever it costs. Else a large one waits for its turn, so that
                at most :data:`MOST_COST` of the time goes into writing.
        """
        if self._root is not None and self._weights and self._saved_step != self.step:
            began_s = time.perf_counter()
            afforded_s = MOST_COST * (began_s - self._written_s)
            due = must or self._bytes <= SMALL_BYTES or self._cost_s < afforded_s
            state = training() if training is not None and due else None
            policy = self.policy()
            says = PolicyState(
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
                says,
                self._weights,
                state,
                keep=self._config.keep_checkpoints,
                regular=self._regular,
            )
            self._saved_step = self.step
            now_s = time.perf_counter()
            self.spent_s += now_s - began_s
            if state is not None:
                self._written_s, self._cost_s = now_s, now_s - began_s
                self._bytes = sum(path.stat().st_size for path in self._saved.iterdir())
        return self._saved

    def complete(self) -> Path | None:
        """Write the last checkpoint, and leave those only that an undisturbed training leaves."""
        self.save()
        if self._root is not None:
            prune_checkpoints(
                self._root,
                self._saved_step,
                keep=self._config.keep_checkpoints,
                regular=self._regular,
                complete=True,
            )
        return self._saved

    def _regular(self, step: int) -> bool:
        """Whether a training without interruptions writes a checkpoint at a step."""
        config = self._config
        every = config.checkpoint_every * config.rollouts_per_report * config.rollout_steps
        if step == 0:
            return config.keep_start
        return step % every == 0 or step >= config.planned_steps

    @property
    def weights_sha256(self) -> str:
        """Fingerprint of the weights that were kept last."""
        return weights_sha256(self._weights)

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
