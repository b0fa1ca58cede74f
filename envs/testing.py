"""Checks of the environment's contract, for our own tests and for anybody who changes or wraps it.

`check_episode` plays a whole episode and checks everything that must hold at every step;
`check_determinism` checks that a seed, and nothing but the seed, fixes the world. Both raise
`ContractError` (an `AssertionError`) that says what broke, where, and the values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from quietdial.envs.pacing.params import (
    CLOSES,
    END_MS,
    MAX_ATTEMPTS,
    N_AGENTS,
    N_LINES,
    OPENS,
    RANDOM_START,
    SILENT_PENALTY,
    STEP_MS,
    TRUNKS,
)
from quietdial.envs.pacing.spec import FULL_TOTALS, TOTALS
from quietdial.envs.pacing.state import (
    AGENT_STATE,
    ANALYSED,
    ATTEMPTS,
    BEGAN,
    BREAK,
    CALL_OUTCOME,
    CALLERS,
    COUNT,
    DUE,
    END,
    FREE,
    FRESH,
    HEAP,
    HEARING,
    HELD,
    IDLE,
    IN_FLIGHT,
    INBOUND_TALK,
    LISTENED,
    MACHINE_TALK,
    MESSAGE_LINES,
    N_AGENT_STATES,
    NOW,
    NOWHERE,
    PEOPLE_DONE,
    PERSON,
    PLACE,
    QUEUEING,
    RESERVED_FLYING,
    RETRIES,
    SPARE,
    TALK,
    WAITING,
    WHO,
    WITH_PERSON,
    WRAP,
    State,
)
from quietdial.envs.pacing.world import World

Floats = NDArray[np.float64]
Policy = Callable[[NDArray[np.float32]], Any]
AnyEnv = gym.Env[Any, Any] | VectorEnv[Any, Any, Any]

_CLOSE = 1e-6
_TIMED = (TALK, WRAP, BREAK, MACHINE_TALK, INBOUND_TALK)
"""Agent states that end by a timer."""
_OUTCOMES = ("answered", "machine", "busy", "no_answer", "invalid", "failure", "cancelled")
_CAUSES = ("silent_cut", "silent_left", "silent_amd")
_AT_WORK = ("idle_s", "talk_s", "wrap_s", "held_s", "machine_s", "inbound_s")
_TIMES = (*_AT_WORK, "break_s", "off_s")


class ContractError(AssertionError):
    """The environment broke its contract."""


@dataclass(frozen=True)
class Episode:
    """What `check_episode` saw, for B campaigns (1 for a scalar environment)."""

    steps: NDArray[np.int64]
    """(B,) decisions until the end."""
    reward: Floats
    """(B,) sum of the rewards."""
    cost: Floats
    """(B,) sum of the costs: silent calls."""
    totals: dict[str, Floats]
    """Final totals by name, each (B,)."""


@dataclass
class _Step:
    """One answer of the environment as rows, whatever kind of environment gave it."""

    observation: NDArray[np.float32]
    reward: Floats
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    cost: Floats
    answered: Floats
    terms: dict[str, Floats]
    totals: dict[str, Floats]


def check_episode(env: AnyEnv, policy: Policy | None = None, *, seed: int = 0) -> Episode:
    """Play one episode of every campaign and check the contract at every step.

    Checked: observations lie in their space, bit types included; rewards are the sums of their
    terms; costs are counts and agree with the totals; totals never fall; every dial, every answered
    call, every silent call and every agent-second is accounted for exactly once; the end is a
    truncation, at the right time, with nothing left over when the close is long enough.

    Args:
        env: `PacingEnv` or `PacingVectorEnv`, wrapped or not, any autoreset mode.
        policy: maps what `reset` and `step` return as observation to an action; None: random
            actions from the action space.
        seed: seed of the world and of the random actions.

    Returns:
        Steps, sums and final totals of the episode.

    Raises:
        ContractError: something does not hold.
    """
    vector = isinstance(env, VectorEnv)
    world = _world(env)
    b = world.n_campaigns
    if policy is None:
        env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    last = _rows(vector, b, (observation, np.zeros(b), np.zeros(b, bool), np.zeros(b, bool), info))
    active = np.ones(b, np.bool_)
    _check_observation(world, last, active, 0)
    _check_totals(world, last, None, active, 0)
    _check_world(world, last, active, 0)
    steps = np.zeros(b, np.int64)
    reward, cost = np.zeros(b), np.zeros(b)
    final = {name: np.zeros(b) for name in last.totals}
    end_ms = world.state.head[:, END].copy()
    began_ms = world.state.head[:, BEGAN].copy()
    due = _decisions(world, began_ms, end_ms)
    number = 0
    while active.any():
        number += 1
        action = env.action_space.sample() if policy is None else policy(observation)
        observation, *rest = env.step(action)
        step = _rows(vector, b, (observation, *rest))
        _check_observation(world, step, active, number)
        _check_reward(world, step, active, number)
        _check_totals(world, step, last, active, number)
        if np.shares_memory(step.observation, last.observation):
            raise ContractError(f"step {number}: the observation shares memory with the last one")
        steps[active] += 1
        reward[active] += step.reward[active]
        cost[active] += step.cost[active]
        ends = number >= due
        what = "truncated = {}, but the episode has {} decisions"
        _require(step.truncated == ends, active, number, what, step.truncated, due)
        ended = active & ends
        same_step = _mode(env) is AutoresetMode.SAME_STEP
        _check_world(world, step, active & ~ended if same_step else active, number)
        for name, value in step.totals.items():
            final[name][ended] = value[ended]
        active &= ~ended
        last = step
        if vector and _mode(env) is AutoresetMode.DISABLED and ended.any() and active.any():
            observation, _ = env.reset(options={"reset_mask": step.truncated})
    _check_end(world, final, end_ms == world.params.n[END_MS])
    return Episode(steps, reward, cost, final)


def check_step(
    world: World,
    out: Floats,
    last: dict[str, Floats] | None,
    active: NDArray[np.bool_],
    number: int,
) -> dict[str, Floats]:
    """Check one step of a `World` that is played without an environment.

    Checked is what `check_episode` checks at every step.

    Args:
        world: the world, after `World.step` or `World.begin`.
        out: (B, 6) what `World.step` returned; zeros after `World.begin`.
        last: totals before the step; None after `World.begin`.
        active: (B,) rows that were played (or began); the others are not looked at.
        number: number of the step, for messages.

    Returns:
        The totals now, each (B,), for the next call.

    Raises:
        ContractError: something does not hold.
    """
    step = _Step(
        observation=world.observe(),
        reward=out[:, 0] + out[:, 1],
        terminated=np.zeros(len(out), np.bool_),
        truncated=out[:, 4] > 0,
        cost=out[:, 2],
        answered=out[:, 3],
        terms={"idle": out[:, 0], "silent": out[:, 1]},
        totals=world.totals(),
    )
    before = None if last is None else replace(step, totals=last)
    _check_observation(world, step, active, number)
    if last is not None:
        _check_reward(world, step, active, number)
    _check_totals(world, step, before, active, number)
    _check_world(world, step, active, number)
    return step.totals


def check_determinism(make: Callable[[], AnyEnv], *, seed: int = 0, steps: int = 300) -> None:
    """Check that the seed fixes the world: same seed, same bits; other seed, other world.

    Two fresh environments and a used one (reset again) must give the same observations, rewards
    and totals for the same actions in every row; another seed must give other ones in every row.

    Args:
        make: makes a fresh environment; called twice.
        seed: seed of the world and of the random actions.
        steps: number of decisions compared.

    Raises:
        ContractError: something does not hold.
    """
    first, second = make(), make()
    one = _trace(first, seed, steps)
    for name, other in (
        ("a second environment", _trace(second, seed, steps)),
        ("the same environment after a reset", _trace(first, seed, steps)),
    ):
        for row, (a, c) in enumerate(zip(one, other, strict=True)):
            if a != c:
                raise ContractError(f"row {row}: {name} with seed {seed} gives other numbers")
    rows = len(one)
    changed = _trace(second, seed + rows, steps, action_seed=seed)
    for row in range(rows):
        if one[row] == changed[row]:
            raise ContractError(f"row {row}: seeds {seed} and {seed + rows} give the same numbers")


def _trace(env: AnyEnv, seed: int, steps: int, *, action_seed: int | None = None) -> list[bytes]:
    """Everything that comes back in `steps` steps, as bytes, by row."""
    vector, b = isinstance(env, VectorEnv), _world(env).n_campaigns
    env.action_space.seed(seed if action_seed is None else action_seed)
    observation, info = env.reset(seed=seed)
    answer: tuple[Any, ...] = (observation, np.zeros(b), np.zeros(b), np.zeros(b), info)
    seen = [bytearray() for _ in range(b)]
    for _ in range(steps):
        step = _rows(vector, b, answer)
        for row in range(b):
            numbers = [step.reward[row], step.cost[row], step.answered[row]]
            numbers += [value[row] for value in step.totals.values()]
            seen[row] += step.observation[row].tobytes() + np.array(numbers).tobytes()
        if step.truncated.any():
            break
        answer = env.step(env.action_space.sample())
    return [bytes(row) for row in seen]


def _world(env: AnyEnv) -> World:
    world = getattr(env.unwrapped, "world", None)
    if not isinstance(world, World):
        raise ContractError(f"{env} is not a PacingEnv or PacingVectorEnv, wrapped or not")
    return world


def _mode(env: AnyEnv) -> AutoresetMode:
    mode = (env.metadata or {}).get("autoreset_mode", AutoresetMode.DISABLED)
    return mode if isinstance(mode, AutoresetMode) else AutoresetMode(mode)


def _rows(vector: bool, b: int, answer: tuple[Any, ...]) -> _Step:
    observation, reward, terminated, truncated, info = answer
    if not vector:
        if type(terminated) is not np.ndarray and type(terminated) is not bool:
            raise ContractError(f"terminated = {terminated!r} must be a bool")
        observation = np.asarray(observation)[None]
        info = _batched(info)
    flat = dict(info)
    if "final_info" in info:
        ended = info["_final_info"]
        observation = observation.copy()
        for row in np.flatnonzero(ended):
            observation[row] = info["final_obs"][row]
        flat = _merged(info, info["final_info"], ended)
    terms = {key: value for key, value in flat["reward_terms"].items() if key[0] != "_"}
    totals = {key: value for key, value in flat["totals"].items() if key[0] != "_"}
    names = [entry.name for entry in TOTALS]
    if list(totals) not in (names, [*names, *(entry.name for entry in FULL_TOTALS)]):
        raise ContractError(f"info['totals'] has {list(totals)}, it must have {names}")
    return _Step(
        observation=observation,
        reward=np.asarray(reward, np.float64).reshape(b),
        terminated=np.asarray(terminated, np.bool_).reshape(b),
        truncated=np.asarray(truncated, np.bool_).reshape(b),
        cost=flat["cost"],
        answered=flat["answered"],
        terms=terms,
        totals=totals,
    )


def _batched(info: dict[str, Any]) -> dict[str, Any]:
    """A scalar environment's info as that of one row."""
    return {
        key: _batched(value) if isinstance(value, dict) else np.atleast_1d(value)
        for key, value in info.items()
    }


def _merged(info: dict[str, Any], final: dict[str, Any], ended: NDArray[np.bool_]) -> Any:
    """Info of the step: that of the finished episode where one has ended."""
    merged: dict[str, Any] = {}
    for key, value in final.items():
        if isinstance(value, dict):
            merged[key] = _merged(info[key], value, ended)
        else:
            merged[key] = np.where(ended, value, info[key])
    return merged


def _require(
    holds: NDArray[np.bool_], active: NDArray[np.bool_], number: int, what: str, *values: Any
) -> None:
    """Raise unless `holds` is true in every active row; `what` is formatted with `values`."""
    broken = active & ~holds
    if broken.any():
        rows = np.flatnonzero(broken)[:4]
        shown = [value[rows] if isinstance(value, np.ndarray) else value for value in values]
        raise ContractError(f"step {number}, rows {rows.tolist()}: {what.format(*shown)}")


def _sum(totals: dict[str, Floats], names: tuple[str, ...]) -> Floats:
    """Sum of those of the totals that the world has."""
    return np.asarray(sum(totals[name] for name in names if name in totals))


def _check_observation(world: World, step: _Step, active: NDArray[np.bool_], number: int) -> None:
    space, observation = world.observation_space, step.observation
    if observation.dtype != space.dtype or observation.shape[1:] != space.shape:
        raise ContractError(
            f"step {number}: observation {observation.dtype} {observation.shape} must be "
            f"{space.dtype} (B, {space.shape})"
        )
    inside = (observation >= space.low) & (observation <= space.high)
    if inside.all():
        return
    for i, field in enumerate(world.fields):
        what = "{} = {} must lie in [{}, {}]"
        value = observation[:, i]
        _require(inside[:, i], active, number, what, field.name, value, field.low, field.high)


def _check_reward(world: World, step: _Step, active: NDArray[np.bool_], number: int) -> None:
    idle, silent, cost = step.terms["idle"], step.terms["silent"], step.cost
    _require(step.reward == idle + silent, active, number, "reward is not the sum of its terms")
    _require((idle >= -1) & (idle <= 0), active, number, "idle term {} not in [-1, 0]", idle)
    agent_s = int(world.params.n[N_AGENTS]) * world.scenario.episode.decision_interval_s
    weight = float(world.params.x[SILENT_PENALTY]) / agent_s
    due = np.abs(silent + weight * cost) <= _CLOSE * (1 + np.abs(silent))
    what = "silent term {} is not -penalty x cost / (agents x interval), cost {}"
    _require(due, active, number, what, silent, cost)
    _require(~step.terminated, active, number, "terminated is true; only truncation ends a day")
    for name, value in (("cost", cost), ("answered", step.answered)):
        whole = (value >= 0) & (value == np.floor(value))
        _require(whole, active, number, "{} = {} must be a count", name, value)


def _check_totals(
    world: World, step: _Step, last: _Step | None, active: NDArray[np.bool_], number: int
) -> None:
    t = step.totals
    for name, value in t.items():
        before = last.totals[name] if last is not None else np.zeros_like(value)
        _require(
            value >= before, active, number, "total {} fell from {} to {}", name, before, value
        )
    counted = "counted" if "counted" in t else "silent"
    if last is not None:
        silent = t[counted] - last.totals[counted]
        answered = t["answered"] - last.totals["answered"]
        _require(step.cost == silent, active, number, "cost is not the new silent calls")
        _require(step.answered == answered, active, number, "answered is not the newly answered")
    causes = _sum(t, _CAUSES)
    _require(t["silent"] == causes, active, number, "silent is not the sum of its three causes")
    same = np.abs(t["available_s"] - _sum(t, _AT_WORK)) <= _CLOSE
    _require(same, active, number, "available is not the time of all agents at work")


def _check_world(world: World, step: _Step, active: NDArray[np.bool_], number: int) -> None:
    """The totals against the state that they stand for, and the state against itself."""
    state, head, t = world.state, world.state.head, step.totals
    n, full = int(world.params.n[N_AGENTS]), world.is_full
    flying, waiting = head[:, IN_FLIGHT], head[:, WAITING]
    placed = flying
    if full:
        placed = flying - state.more[:, ANALYSED] + state.more[:, RESERVED_FLYING]
    open_calls = t["dialed"] - _sum(t, _OUTCOMES)
    what = "dialed less all outcomes is {}, but {} calls are in flight"
    _require(open_calls == placed, active, number, what, open_calls, placed)
    silence = t["answered"] - t["connected"] - t["silent"]
    unheard = _people_at(state, QUEUEING) + _people_at(state, LISTENED) if full else waiting
    what = "answered less connected and silent is {}, but {} callees wait"
    _require(silence == unheard, active, number, what, silence, unheard)
    clock_s = (head[:, NOW] - head[:, BEGAN]) / 1000.0
    spent = _sum(t, _TIMES)
    close = np.abs(spent - n * clock_s) <= _CLOSE * (1 + spent)
    _require(close, active, number, "agent time {} s is not {} agents x {} s", spent, n, clock_s)
    in_ring = state.cohort.sum(axis=1)
    what = "{} calls in flight by age, {} in all"
    _require(in_ring == flying, active, number, what, in_ring, flying)
    counts = head[:, COUNT : COUNT + N_AGENT_STATES]
    states = state.agent[:, :, AGENT_STATE, None] == np.arange(N_AGENT_STATES)
    counted = states.sum(axis=1)
    what = "agents by state {}, counters {}"
    _require((counted == counts).all(axis=1), active, number, what, counted, counts)
    nobody = (waiting == 0) | (counts[:, IDLE] == 0)
    _require(nobody, active, number, "a callee waits although an agent is idle")
    timed = counts[:, list(_TIMED)].sum(axis=1)
    lines = head[:, FREE] + placed + waiting
    if full:
        _check_full(world, active, number)
        other = state.more[:, ANALYSED] + state.more[:, MESSAGE_LINES]
        lines = lines + other
        missing = placed + other + timed - head[:, HEAP]
        _require(missing <= 0, active, number, "{} timers are missing", missing)
    else:
        extra = head[:, HEAP] - placed - timed
        _require((extra >= 0) & (extra <= 2), active, number, "a timer is missing or left over")
    _require(lines == world.params.n[N_LINES], active, number, "a line is lost or used twice")


def _people_at(state: State, place: int) -> NDArray[np.int64]:
    """Calls of persons (not machines) at a place of `state.story`, (B,)."""
    persons = state.call[:, :, CALL_OUTCOME] == PERSON
    return np.asarray(((state.story[:, :, PLACE] == place) & persons).sum(axis=1), np.int64)


def _check_full(world: World, active: NDArray[np.bool_], number: int) -> None:
    """What only full worlds have: held agents, callers, people, the places of calls."""
    state, counts = world.state, world.state.head[:, COUNT : COUNT + N_AGENT_STATES]
    more, place = state.more, state.story[:, :, PLACE]
    what = "{} agents are held, but {} calls of the world are in flight"
    held, reserved = counts[:, HELD], more[:, RESERVED_FLYING]
    _require(held == reserved, active, number, what, held, reserved)
    free = counts[:, IDLE] + counts[:, SPARE]
    nobody = (more[:, CALLERS] == 0) | (free == 0)
    _require(nobody, active, number, "an inbound caller waits although an agent is free")
    for name, counter in (("under detection", ANALYSED), ("with a message", MESSAGE_LINES)):
        where = LISTENED if counter == ANALYSED else HEARING
        found = (place == where).sum(axis=1)
        what = f"{{}} calls {name}, the counter says {{}}"
        _require(found == more[:, counter], active, number, what, found, more[:, counter])
    trunks = world.params.n[TRUNKS]
    if trunks and not world.params.n[RANDOM_START]:
        used = world.params.n[N_LINES] - state.head[:, FREE]
        used = used + counts[:, TALK] + counts[:, MACHINE_TALK]
        _require(used <= trunks, active, number, "{} of {} trunks are in use", used, trunks)
    people = state.person.shape[1]
    if people:
        on_line = ((place != NOWHERE) & (state.story[:, :, WHO] >= 0)).sum(axis=1)
        on_line += (state.trait[:, :, WITH_PERSON] >= 0).sum(axis=1)
        known = more[:, RETRIES] + more[:, DUE] + more[:, PEOPLE_DONE] + on_line
        fresh = people - more[:, FRESH]
        what = f"fresh {{}} and known {{}} people are not the {people} of the list"
        _require(fresh + known == people, active, number, what, fresh, known)
        most = state.person[:, :, ATTEMPTS].max(axis=1)
        allowed = int(world.params.n[MAX_ATTEMPTS])
        what = f"a person was dialed {{}} times, allowed are {allowed}"
        _require(most <= allowed, active, number, what, most)


def _decisions(world: World, began: NDArray[np.int64], end: NDArray[np.int64]) -> Any:
    """Decisions of each row's episode, (B,): each session has its own, the last may be short."""
    step_ms, sessions = int(world.params.n[STEP_MS]), world.params.sessions
    opens, closes = sessions[:, OPENS, None], sessions[:, CLOSES, None]
    length = np.minimum(closes, end) - np.maximum(opens, began)
    return (-(-np.maximum(length, 0) // step_ms)).sum(axis=0)


def _check_end(world: World, final: dict[str, Floats], whole_day: NDArray[np.bool_]) -> None:
    calls, rule = world.scenario.calls, world.scenario.rule
    laws = [calls.time_to_answer, *(u.time for u in calls.unanswered)]
    longest_s = max(law.max_s() for law in laws) + rule.wait_limit_s
    greeting = [calls.greeting.start, calls.greeting.length] if calls.greeting else []
    for law in (calls.setup, calls.detection.decision, *greeting):
        longest_s += law.max_s() if law else 0.0
    longest_s += rule.hold_s if rule.at_limit == "hold" else 0.0
    longest_s += 1.0 if calls.calls_per_s else 0.0
    if world.scenario.episode.close_s >= longest_s:
        left = final["dialed"] - _sum(final, _OUTCOMES)
        left += final["answered"] - final["connected"] - final["silent"]
        _require(left == 0, whole_day, -1, "{} calls are left over after the close", left)
