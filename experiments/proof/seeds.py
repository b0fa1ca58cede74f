"""Part `seeds` of the proof: the seed, and nothing but the seed, fixes the world.

Trajectories (observations, rewards, costs, all totals) are compared bit for bit between batches of
1 to 256 campaigns, both kernels, the scalar and the vector environments, autoreset modes, threads
and processes, with and without records. Different seeds must differ. Common random numbers: the
k-th attempt at a person has the same fate and times whatever the policy did, and so have the hidden
levels of each day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from quietdial.envs import PacingEnv, PacingVectorEnv
from quietdial.envs.pacing import log
from quietdial.envs.pacing.spec import TOTALS
from quietdial.envs.pacing.state import P_ANSWER, SESSION, TALK_FACTOR
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.proof.parts import Figure, Report, failures
from quietdial.experiments.proof.reference_worlds import SCENARIOS

__all__ = ["fates", "levels", "run", "same_fates", "trajectories"]

PRESETS = ("italy-50-full", "uk-50", "us-50", "blend-40", "short-list-10", "study-real-10")
SIZES = (1, 2, 8, 32, 256)
STEPS = 60
FIRST_SEED = 9_000_000
_FEWEST_PRESETS = 2


def trajectories(
    scenario: str | Scenario, seeds: Sequence[int], steps: int = STEPS, **options: Any
) -> list[str]:
    """Digest of everything that comes back in so many steps, one for each seed.

    The action of a row depends on its seed and the step only. `options` go to `World`.
    """
    world = World(len(seeds), scenario, action="dials", **options)
    every = np.ones(len(seeds), np.bool_)
    world.begin(every, seeds)
    digests = [hashlib.sha256() for _ in seeds]
    plain = [entry.name for entry in TOTALS]
    for step in range(steps):
        out = world.step(_actions(seeds, step, world.scenario.max_dials), every)
        seen, totals = world.observe(), world.totals()
        for row, digest in enumerate(digests):
            numbers = [float(totals[name][row]) for name in plain]
            digest.update(seen[row].tobytes() + out[row, :5].tobytes())
            digest.update(np.array(numbers).tobytes())
        if options.get("records"):
            world.drain_log()
    return [digest.hexdigest() for digest in digests]


def _actions(seeds: Sequence[int], step: int, most: int) -> NDArray[np.int64]:
    """Dials of each row at a step: mostly few, sometimes many."""
    numbers = [(seed * 2654435761 + step * 40503) >> 4 for seed in seeds]
    return np.array([min(n % 3 if n % 7 else n % (most + 1), most) for n in numbers], np.int64)


def through_env(
    scenario: str | Scenario, seeds: Sequence[int], kind: str, steps: int = STEPS
) -> list[str]:
    """Digests of observations, rewards and costs through an environment of this kind.

    Args:
        scenario: the world.
        seeds: consecutive seeds, one for each row.
        kind: "scalar", "sync" (Gymnasium's own vector of scalar ones), or the name of an autoreset
            mode of `PacingVectorEnv`.
        steps: number of decisions; no episode may end in them.
    """
    rows = len(seeds)
    if kind == "scalar":
        return [_scalar(PacingEnv(scenario, action="dials"), seed, steps) for seed in seeds]
    env: gym.vector.VectorEnv[Any, Any, Any]
    if kind == "sync":
        env = SyncVectorEnv([lambda: PacingEnv(scenario, action="dials")] * rows)
    else:
        env = PacingVectorEnv(
            rows, scenario, action="dials", autoreset_mode=AutoresetMode[kind.upper()]
        )
    most = load_scenario(scenario).max_dials
    seen, _ = env.reset(seed=seeds[0])
    digests = [hashlib.sha256(seen[row].tobytes()) for row in range(rows)]
    for step in range(steps):
        seen, reward, _, _, info = env.step(_actions(seeds, step, most))
        for row, digest in enumerate(digests):
            numbers = np.array([float(reward[row]), float(info["cost"][row])])
            digest.update(seen[row].tobytes() + numbers.tobytes())
    env.close()
    return [digest.hexdigest() for digest in digests]


def _scalar(env: PacingEnv, seed: int, steps: int) -> str:
    seen, _ = env.reset(seed=seed)
    digest = hashlib.sha256(seen.tobytes())
    for step in range(steps):
        action = _actions([seed], step, env.scenario.max_dials)[0]
        seen, reward, _, _, info = env.step(action)
        digest.update(seen.tobytes() + np.array([reward, info["cost"]]).tobytes())
    return digest.hexdigest()


def fates(
    scenario: Scenario, seed: int, dials: Callable[[int], int], steps: int
) -> dict[tuple[int, int], tuple[int, int]]:
    """Outcome and time to it [ms] of the k-th attempt at each person, by (person, k).

    Args:
        scenario: a world with `people` (then the attempt counts) or without (the dial's number).
        seed: seed of the campaign.
        dials: calls that the decision of a step places.
        steps: decisions.
    """
    world = World(1, scenario, observation="none", action="dials", records=True)
    every = np.ones(1, np.bool_)
    world.begin(every, [seed])
    attempts: dict[int, int] = {}
    started: dict[int, tuple[tuple[int, int], int]] = {}
    found = {}
    for step in range(steps):
        done = world.step(np.array([min(dials(step), scenario.max_dials)]), every)[0, 4]
        for t, code, number, x, _, z in world.drain_log()[0].tolist():
            if code == log.DIAL:
                k = attempts.get(x, 0) if x >= 0 else number
                attempts[x] = k + 1
                started[number] = (x, k), t + z
            elif code == log.ENDED:
                who, start = started[number]
                found[who] = x, t - start
        if done:
            break
    return found


def levels(
    scenario: Scenario, seed: int, dials: Callable[[int], int], steps: int
) -> dict[tuple[int, float], tuple[int, int]]:
    """Hidden answer rate and talk factor by (session, time), as the kernel's whole numbers."""
    world = World(1, scenario, observation="none", action="dials", full=True)
    every = np.ones(1, np.bool_)
    world.begin(every, [seed])
    found = {}
    for step in range(steps):
        done = world.step(np.array([min(dials(step), scenario.max_dials)]), every)[0, 4]
        head = world.state.head[0]
        at = int(world.state.more[0, SESSION]), float(world.clock_s()[0])
        found[at] = int(head[P_ANSWER]), int(head[TALK_FACTOR])
        if done:
            break
    return found


def same_fates(scenario: Scenario, seed: int, steps: int) -> tuple[list[str], int]:
    """What differs between a careful and a reckless policy that should not; and how much is common.

    A constant answer rate is assumed, because the rate is a function of time.
    """

    def careful(step: int) -> int:
        return int(step % 3 == 0)

    def reckless(step: int) -> int:
        return 2 + step % 3

    told = []
    one, two = (fates(scenario, seed, policy, steps) for policy in (careful, reckless))
    common = one.keys() & two.keys()
    told += [f"fate of {key}: {one[key]} or {two[key]}" for key in common if one[key] != two[key]]
    first, second = (levels(scenario, seed, policy, steps) for policy in (careful, reckless))
    told += [f"level at {key}" for key in first.keys() & second.keys() if first[key] != second[key]]
    return told, len(common)


# --- the part -------------------------------------------------------------------------------------


def _sizes(scenario: str | Scenario, seeds: list[int], whole: list[str], told: list[str]) -> int:
    compared = 0
    for size in SIZES:
        for at in range(0, len(seeds), max(size, len(seeds) // 4)):
            part = seeds[at : at + size]
            if trajectories(scenario, part) != whole[at : at + size]:
                told.append(f"{scenario}: batch of {size} at {at}")
            compared += len(part)
    return compared


def _elsewhere(
    scenario: str | Scenario, seeds: list[int], whole: list[str], told: list[str]
) -> int:
    compared = 0
    for name, options in (("with records", {"records": True}), ("full kernel", {"full": True})):
        if trajectories(scenario, seeds, **options) != whole:
            told.append(f"{scenario}: {name}")
        compared += len(seeds)
    half = len(seeds) // 2
    with ThreadPoolExecutor(2) as threads:
        parts = threads.map(lambda p: trajectories(scenario, p), (seeds[:half], seeds[half:]))
        if [digest for part in parts for digest in part] != whole:
            told.append(f"{scenario}: two threads")
    return compared + len(seeds)


def _envs(scenario: str | Scenario, seeds: list[int], told: list[str]) -> int:
    kinds = ("scalar", "sync", *(mode.name for mode in AutoresetMode))
    digests = {kind: through_env(scenario, seeds, kind) for kind in kinds}
    told += [f"{scenario}: {k}" for k, value in digests.items() if value != digests["scalar"]]
    return len(seeds) * (len(kinds) - 1)


def run(scale: float, report: Report) -> list[Figure]:
    """The part of the proof; a smaller `scale` compares fewer trajectories of fewer presets.

    Args:
        scale: share of the whole.
        report: told what is done.

    Returns:
        Trajectories that differ and must not, seeds that do not differ and must, fates that the
        policy changed (all must be 0).
    """
    presets = PRESETS if scale >= 1 else PRESETS[-_FEWEST_PRESETS:]
    rows = 256 if scale >= 1 else 16
    told: list[str] = []
    alike: list[str] = []
    compared = differing = 0
    wholes = {}
    for number, preset in enumerate(presets):
        report(f"seeds: {preset}", 0.8 * number / len(presets))
        seeds = list(range(FIRST_SEED, FIRST_SEED + rows))
        whole = wholes[preset] = trajectories(preset, seeds)
        compared += _sizes(preset, seeds, whole, told) + _elsewhere(preset, seeds, whole, told)
        compared += _envs(preset, seeds[:8], told)
        alike += [f"{preset}: {rows - len(set(whole))} pairs"] if len(set(whole)) < rows else []
        differing += rows
    report("seeds: processes", 0.8)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        few = list(range(FIRST_SEED, FIRST_SEED + 16))
        for preset in presets:
            if other.submit(trajectories, preset, few).result() != wholes[preset][:16]:
                told.append(f"{preset}: another process")
            compared += 16
    report("seeds: common random numbers", 0.9)
    changed: list[str] = []
    common = 0
    for name in ("retries", "caps", "quarantine", "uk-amd", "plain", "speed-skill"):
        steps = 3000 if scale >= 1 else 400
        for seed in range(4 if scale >= 1 else 1):
            found, n = same_fates(SCENARIOS[name].scenario, seed, steps)
            changed += [f"{name}: {line}" for line in found]
            common += n
    return [
        failures(
            "seeds/trajectories/differ",
            told,
            compared,
            f"trajectories of {STEPS} decisions in {', '.join(presets)} compared bit for bit: "
            f"batches of {', '.join(map(str, SIZES))}, both kernels, with records, environments "
            "and autoreset modes, two threads, another process",
        ),
        failures("seeds/seeds/alike", alike, differing, "trajectories of different seeds"),
        failures(
            "seeds/common_random_numbers/differ",
            changed,
            common,
            "attempts at people (or dials) and hidden levels under two policies",
        ),
    ]
