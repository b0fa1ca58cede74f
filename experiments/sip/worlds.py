"""The scaled floor of the SIP loop, and the policies that the sidecar serves there."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from quietdial.agents.bundle.describe import Seen
from quietdial.agents.bundle.write import write_policy
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import PolicySpec
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, changed
from quietdial.experiments.evaluate import play_world

N_AGENTS: Final = 20
P_ANSWER: Final = 0.4
CAP: Final = 0.03
CLOSE_S: Final = 32.0
"""No dials in the last seconds of a session. The pacer's own stop, which goes by the longest
ringing of its tables, is no earlier."""
TIMEOUT_S: Final = 7.6
"""Not a whole number of decisions: see `grid.py`."""
RATIOS: Final = (1.0, 2.0, 3.0, 4.0)
LEARNT: Final = "trained, shielded"


def sip_floor(seconds: float, *, cap: float = 1.0, known_rate: bool = True) -> Scenario:
    """A floor in which everything is about eight times as fast as on a real one, but the limit.

    Args:
        seconds: length of the session.
        cap: allowed silent rate; 1: it is only counted.
        known_rate: whether the dialer knows the answer rate, or estimates it.
    """
    belief = {"answer_rate": P_ANSWER} if known_rate else {"memory_s": 60.0}
    return Scenario.model_validate(
        {
            "name": "sip-loop-20",
            "description": "20 agents, talk 20 s, wrap-up 5 s, 4.1 s until an answer",
            "floor": {
                "n_agents": N_AGENTS,
                "talk": {"kind": "exponential", "mean_s": 20},
                "wrap": {"kind": "exponential", "mean_s": 5},
            },
            "calls": {
                "answer_rate": {"kind": "constant", "p": P_ANSWER},
                "time_to_answer": {"kind": "gamma", "shape": 3, "scale_s": 1.2, "shift_s": 0.5},
                "unanswered": [
                    {
                        "outcome": "busy",
                        "share": 0.2,
                        "time": {"kind": "uniform", "low_s": 0.3, "high_s": 1.2},
                    },
                    {
                        "outcome": "invalid",
                        "share": 0.1,
                        "time": {"kind": "uniform", "low_s": 0.3, "high_s": 1.2},
                    },
                    {
                        "outcome": "no_answer",
                        "share": 0.7,
                        "time": {"kind": "constant", "value_s": TIMEOUT_S},
                    },
                ],
                "ring_timeout_s": TIMEOUT_S,
                "patience": {"kind": "exponential", "mean_s": 6},
            },
            "rule": {"id": "sip", "cap": cap, "wait_limit_s": 3, "source": "assumed"},
            "episode": {"duration_s": seconds, "close_s": CLOSE_S, "decision_interval_s": 1},
            "belief": belief,
            "observation": "counters",
            "action": "dials",
        }
    )


class Setting(NamedTuple):
    """A policy on the floor.

    Attributes:
        name: in tables.
        policy: who decides.
        scenario: the floor, as the policy knows it.
        ratio: of the fixed-ratio rule that the policy is; None: it is another one.
        shield: what stands behind the policy in the simulator, as the pacer's own does.
    """

    name: str
    policy: LearnedPolicy
    scenario: Scenario
    ratio: float | None = None
    shield: str | None = None


def ratio_policy(scenario: Scenario, ratio: float) -> LearnedPolicy:
    """The fixed-ratio rule as one linear layer over `counters`, so that it can be exported.

    With x = ratio idle - in flight - waiting, argmax over k of k x - k^2 / 2 is the whole number
    nearest to x, from 0 to the most calls of a decision. The observation holds the three counts as
    multiples, since the answer rate is known and nobody is on break.

    Args:
        scenario: a floor without breaks whose answer rate the dialer knows.
        ratio: lines per idle agent, a whole number (others the simulator's rule rounds by chance).
    """
    fields = observation_fields("counters")
    at = {field.name: i for i, field in enumerate(fields)}
    n, rate = scenario.floor.n_agents, scenario.belief.answer_rate or 1.0
    x = np.zeros(len(fields))
    x[at["idle_share"]] = ratio * n / 3.0
    x[at["answers_due"]] = -n / (6.0 * rate)
    x[at["waiting"]] = -1.0
    k = np.arange(scenario.max_dials + 1.0)
    layer = Layer(np.outer(x, k), -k * k / 2.0)
    spec = PolicySpec.of(
        changed(scenario, rule={"cap": CAP}),  # a policy's origin has a cap
        observation="counters",
        action="dials",
        fields=fields,
        n_actions=len(k),
    )
    return LearnedPolicy((layer,), spec, name=f"ratio-{ratio:g}")


def trained_policy(steps: int) -> LearnedPolicy:
    """A policy that learned on this floor to keep the cap, not knowing the answer rate."""
    from quietdial.agents.learners.config import LearnerConfig
    from quietdial.agents.learners.training import train

    config = LearnerConfig(
        observation="counters", action="dials", total_steps=steps, net=(32, 32), seed=1
    )
    return train(config, sip_floor(3600.0, cap=CAP, known_rate=False)).policy


def bundle_of(setting: Setting, folder: Path, seed: int) -> Path:
    """Write a setting's policy as an unsigned bundle, with what one simulated session shows."""
    scenario = setting.scenario
    world = World(1, scenario, observation="counters", action="dials", shield=setting.shield)
    world.begin(np.ones(1, np.bool_), [seed])
    obs = []
    for _ in range(round(scenario.episode.duration_s)):
        seen = world.observe()
        obs.append(seen[0].copy())
        actions, _ = setting.policy.act(seen)
        world.step(actions, np.ones(1, np.bool_))
    n = float(scenario.floor.n_agents)
    # the floor never changes, so nothing but the answer rate's estimate could leave the envelope
    shown = Seen(np.array(obs), present=(n, n), answer_rate=(0.01, 0.99), handle_s=(25.0, 25.0))
    return write_policy(setting.policy, scenario, folder, seen=shown, vectors=1000)


def simulate(setting: Setting, seeds: list[int]) -> dict[str, np.ndarray]:
    """Totals of simulated sessions by name, float64 (S,) each."""
    world = World(
        len(seeds),
        setting.scenario,
        observation="counters",
        action="dials",
        shield=setting.shield,
    )
    return play_world(setting.policy, world, np.array(seeds, np.int64), lambda _: None)[0]
