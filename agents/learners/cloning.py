"""Behaviour cloning: a learner's actor starts as a copy of a rule (science study, sections C2, F).

The teacher plays the scenario; before every decision the student's observation is read, and what
the teacher dials until the next one becomes the label. Controller rules act inside the kernel at
their own period and never name a number, so dials are counted for every teacher alike, as the
difference of the running total `dialed`. A `residual` student learns dials minus those of the base
rule, cut to what its actions can say.

Two traps. Label smoothing: with .01, as in the study, a *sampled* clone floods. `study-real-10`,
`dials` clone of `marginal` (3.5 % silent by argmax): .01 gives 7.5 % sampled (6.7 % in the study),
.001 gives 3.5 %, 0 gives 3.6 %; a hundredth spread over seven actions is a burst of calls every few
minutes. So .001 here. And argmax: a `dials` clone of `predict1` or of VICIdial, which place their
calls in bursts at moments that the observation does not show, never finds dialing likelier than
not, and never dials. Compare `agreement` with `commonest`; as `residual` the same rule is learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from quietdial.agents.learners.config import SEED_STRIDE
from quietdial.agents.policy import (
    RESIDUAL_OFFSET,
    LearnedAction,
    Policy,
    log_multiplier,
    priced_theta,
)
from quietdial.envs.errors import ConfigError, MissingExtraError
from quietdial.envs.pacing.params import LEARNS, Knowledge
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario

try:
    import torch
    from stable_baselines3.common.policies import BasePolicy
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("torch and stable-baselines3", "train", "training") from error

N_PAIRS = 98_304
N_CAMPAIGNS = 256
HELD_OUT_SHARE = 0.1
"""Share of the campaigns whose decisions are kept aside to measure the agreement."""


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a teacher did, campaign after campaign.

    Attributes:
        obs: the student's observations, float32 (T, B, F): T decisions of B campaigns.
        actions: the teacher's decisions as actions of the student, int64 (T, B).
        cut: share of the decisions that the student's actions cannot say and that were cut.
    """

    obs: NDArray[np.float32]
    actions: NDArray[np.int64]
    cut: float


@dataclass(frozen=True)
class CloneReport:
    """How well a student copies its teacher.

    Attributes:
        agreement: share of the held-out decisions in which argmax is the teacher's action.
        sampled_agreement: mean probability of the teacher's action there.
        commonest: share of the teacher's commonest action there: what a constant would agree in.
        loss: cross-entropy there, nats, without label smoothing.
        n: decisions that it learned from.
        cut: share of the decisions that its actions cannot say.
    """

    agreement: float
    sampled_agreement: float
    commonest: float
    loss: float
    n: int
    cut: float


def lessons_of(
    teacher: Policy,
    scenario: Scenario,
    *,
    observation: str,
    action: LearnedAction,
    base_theta: float = 0.02,
    seed: int = 1,
    n_pairs: int = N_PAIRS,
    n_campaigns: int = N_CAMPAIGNS,
    horizon_s: float = 7200.0,
    knowledge: Knowledge = "believed",
    prices: NDArray[np.float64] | None = None,
) -> Lessons:
    """Watch a teacher at work on training worlds (random starts, as learners have them).

    Args:
        teacher: any rule, or another policy that does not remember.
        scenario: the world.
        observation: observation set of the student.
        action: action kind of the student, "residual" or "dials".
        base_theta: threshold of the base rule under the student's residual actions.
        seed: seed of the worlds, as a learner's.
        n_pairs: decisions to watch, rounded up to whole decisions of all campaigns.
        n_campaigns: campaigns side by side, at most 4096.
        horizon_s: longest episode, seconds.
        knowledge: what the student's look-ahead goes by; the teacher has its own.
        prices: (n_campaigns,), agent-seconds per silent call that the student is told of in each
            campaign, at which its base rule has another threshold; none: it is told of none.

    Raises:
        ConfigError: a number or kind is not allowed, the teacher remembers, or the student goes by
            learnt tables and the teacher does not.
    """
    if n_pairs < 1:
        raise ConfigError(f"n_pairs = {n_pairs!r} must be at least 1")
    if not 1 <= n_campaigns <= SEED_STRIDE:
        raise ConfigError(f"n_campaigns = {n_campaigns!r} must be between 1 and {SEED_STRIDE}")
    if action not in ("residual", "dials"):
        raise ConfigError(f"action = {action!r} of a clone must be 'residual' or 'dials'")
    world, student = _worlds(
        teacher,
        scenario,
        n_campaigns,
        {"start": "random", "horizon_s": min(horizon_s, scenario.episode.duration_s)},
        {
            "observation": observation,
            "action": action,
            "base_theta": base_theta,
            "knowledge": knowledge,
        },
    )
    thetas = None
    if prices is not None and action == "residual":
        thetas = priced_theta(base_theta, prices)
    everywhere = np.ones(n_campaigns, np.bool_)
    world.begin(everywhere, [seed * SEED_STRIDE + row for row in range(n_campaigns)])
    n_steps = -(-n_pairs // n_campaigns)
    obs = np.zeros((n_steps, n_campaigns, len(student.fields)), np.float32)
    wanted = np.zeros((n_steps, n_campaigns), np.int64)
    before = _own_dials(world)
    for t in range(n_steps):
        if thetas is not None:
            student.set_base_thetas(thetas)
        obs[t] = student.observe()
        if action == "residual":
            wanted[t] = -student.base_dials() - RESIDUAL_OFFSET
        if thetas is not None and teacher.action.startswith("residual"):
            world.set_base_thetas(np.full(n_campaigns, teacher.base_theta))
        orders, memory = teacher.act(world.observe(), None)
        if memory is not None:
            raise ConfigError(f"{teacher.name} remembers; only policies without memory can teach")
        ended = world.step(orders, everywhere)[:, 4] > 0
        after = _own_dials(world)
        wanted[t] += after - before
        if ended.any():
            world.begin(ended)
            after = _own_dials(world)
        before = after
    if prices is not None:
        seen = log_multiplier(prices).astype(np.float32)
        shown = np.broadcast_to(seen[:, None], (n_steps, n_campaigns, 1))
        obs = np.concatenate([obs, shown], axis=2)
    space = student.action_space
    most = int(space.n) - 1 if isinstance(space, Discrete) else 0
    actions = np.clip(wanted, 0, most)
    return Lessons(obs, actions, float((actions != wanted).mean()))


def _worlds(
    teacher: Policy,
    scenario: Scenario,
    n_campaigns: int,
    shared: Mapping[str, Any],
    own: Mapping[str, Any],
) -> tuple[World, World]:
    """The teacher's world, and the student's look at the same floor.

    Args:
        teacher: who plays.
        scenario: the world.
        n_campaigns: campaigns side by side.
        shared: options of both worlds.
        own: the student's further options.
    """
    options: Mapping[str, Any] = getattr(teacher, "world_options", {})
    world = World(
        n_campaigns,
        scenario,
        observation=teacher.observation,
        action=teacher.action,
        base_theta=teacher.base_theta,
        **shared,
        **options,
    )
    student = World(n_campaigns, scenario, **shared, **own)
    knowledge = own["knowledge"]
    its = options.get("knowledge", "believed")
    if student.params.n[LEARNS] and its != knowledge:
        raise ConfigError(
            f"knowledge = {knowledge!r}: {teacher.name} goes by {its!r} and keeps no tables for "
            "the student; use a teacher with the same knowledge, or none"
        )
    # the student looks at the teacher's floor, with room for its own sums
    world.state = world.state._replace(
        pmf=max(world.state.pmf, student.state.pmf, key=lambda array: array.size)
    )
    student.state = world.state
    return world, student


def _own_dials(world: World) -> NDArray[np.int64]:
    """Calls placed so far, without those that the world places by itself, (B,)."""
    totals = world.totals()
    return np.asarray(totals["dialed"] - totals.get("reserved", 0.0), np.int64)


def clone(
    policy: BasePolicy,
    lessons: Lessons,
    *,
    seed: int = 1,
    n_epochs: int = 4,
    learning_rate: float = 1e-3,
    label_smoothing: float = 0.001,
    batch_size: int = 128,
) -> CloneReport:
    """Teach an actor by cross-entropy with label smoothing; its critic is left alone.

    The learner's own optimiser is not touched, so that training starts with a fresh one.

    Args:
        policy: an actor-critic policy of stable-baselines3 or sb3-contrib (no recurrent one) with a
            discrete action, changed in place.
        lessons: what to copy; a tenth of the campaigns is held out to measure the agreement.
        seed: seed of the order of the decisions.
        n_epochs: passes over the lessons.
        learning_rate: step size of Adam.
        label_smoothing: weight of the uniform distribution in the label.
        batch_size: decisions of a step.

    Raises:
        ConfigError: the policy has no discrete distribution, or does not fit the lessons.
    """
    space, obs_space = policy.action_space, policy.observation_space
    if not isinstance(space, Discrete) or not hasattr(policy, "get_distribution"):
        raise ConfigError(f"{type(policy).__name__} over {space} has no choice to be cloned")
    if obs_space.shape != lessons.obs.shape[2:] or lessons.actions.max() >= space.n:
        raise ConfigError(
            f"a policy from observations of shape {obs_space.shape} to {space} does not fit "
            f"lessons of shape {lessons.obs.shape[2:]} with actions up to {lessons.actions.max()}"
        )
    n_campaigns = lessons.actions.shape[1]
    kept = max(n_campaigns - max(round(HELD_OUT_SHARE * n_campaigns), 1), 1)
    obs, actions = _flat(lessons, slice(0, kept))
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    order = torch.Generator().manual_seed(seed)
    policy.set_training_mode(True)
    for _ in range(n_epochs):
        shuffled = torch.randperm(len(obs), generator=order)
        for start in range(0, len(obs), batch_size):
            rows = shuffled[start : start + batch_size]
            loss = torch.nn.functional.cross_entropy(
                _logits(policy, obs[rows]), actions[rows], label_smoothing=label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    optimizer.zero_grad()
    policy.set_training_mode(False)
    obs, actions = _flat(lessons, slice(min(kept, n_campaigns - 1), None))
    with torch.no_grad():
        log_probs = torch.log_softmax(_logits(policy, obs), dim=1)
    of_teacher = log_probs.gather(1, actions.unsqueeze(1))
    return CloneReport(
        agreement=float((log_probs.argmax(dim=1) == actions).double().mean()),
        sampled_agreement=float(of_teacher.exp().mean()),
        commonest=float(actions.bincount().max()) / len(actions),
        loss=float(-of_teacher.mean()),
        n=kept * len(lessons.actions),
        cut=lessons.cut,
    )


def _flat(lessons: Lessons, campaigns: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Observations (n, F) and actions (n,) of some campaigns."""
    obs, actions = lessons.obs[:, campaigns], lessons.actions[:, campaigns]
    return (
        torch.as_tensor(obs.reshape(-1, obs.shape[2]).copy()),
        torch.as_tensor(actions.reshape(-1).copy()),
    )


def _logits(policy: BasePolicy, obs: torch.Tensor) -> torch.Tensor:
    """Logits (n, actions) of the policy's distribution."""
    distribution: Any = policy.get_distribution(obs)  # type: ignore[operator]
    logits: torch.Tensor = distribution.distribution.logits
    return logits


def warm_start(
    policy: BasePolicy,
    scenario: Scenario,
    teacher: Policy,
    *,
    observation: str,
    action: LearnedAction,
    base_theta: float = 0.02,
    seed: int = 1,
    n_pairs: int = N_PAIRS,
    horizon_s: float = 7200.0,
    conditioned: tuple[float, float] | None = None,
    knowledge: Knowledge = "believed",
) -> CloneReport:
    """Make an actor a copy of a rule; see :func:`lessons_of` and :func:`clone`.

    With `conditioned`, the actor sees a multiplier in this range, and copies the rule at every one.
    """
    prices = None
    if conditioned is not None:
        rng = np.random.default_rng([seed, *b"lessons"])
        low, high = (math.log(price) for price in conditioned)
        prices = np.exp(rng.uniform(low, high, N_CAMPAIGNS))
    lessons = lessons_of(
        teacher,
        scenario,
        observation=observation,
        action=action,
        base_theta=base_theta,
        seed=seed,
        n_pairs=n_pairs,
        horizon_s=horizon_s,
        knowledge=knowledge,
        prices=prices,
    )
    return clone(policy, lessons, seed=seed)
