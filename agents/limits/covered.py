"""The worlds that the limits of this room cover, and what an agent's time there is made of."""

from __future__ import annotations

from typing import NamedTuple

from quietdial.envs.errors import ConfigError
from quietdial.envs.scenario import Scenario


class Times(NamedTuple):
    """Agents, and what a conversation takes of their time on average [s]."""

    n_agents: int
    talk_s: float
    wrap_s: float
    break_s: float  # per conversation

    @property
    def handle_s(self) -> float:
        """Conversation and wrap-up."""
        return self.talk_s + self.wrap_s


def times_of(world: Scenario) -> Times:
    """Means of the laws as they are drawn."""
    floor = world.floor
    wrap = floor.wrap.sampled_mean_s() if floor.wrap else 0.0
    pause = floor.breaks
    rest = pause.p_after_wrap * pause.duration.sampled_mean_s() if pause else 0.0
    return Times(floor.n_agents, floor.talk.sampled_mean_s(), wrap, rest)


def plain_world(world: Scenario) -> Scenario:
    """The scenario, or `ConfigError` with what it has that the limits do not cover."""
    floor, calls = world.floor, world.calls
    reasons = {
        "it has shifts": bool(floor.shifts),
        "agents differ in speed": floor.speed_sd > 0,
        "talk times drift within the day": floor.talk_drift is not None,
        "it has a list of people": world.people is not None,
        "it has inbound calls": world.inbound is not None,
        "machines are not told apart": calls.detection.kind != "perfect",
        "callees may leave before the limit": calls.patience is not None,
        "calls have a set-up time": calls.setup is not None,
        "ringing is given up": calls.ring_timeout_s is not None,
        "answers have a greeting": calls.greeting is not None,
        "calls are not cut at the limit": world.rule.at_limit != "cut",
        "it has a calendar (episode.first_day)": world.episode.first_day is not None,
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise ConfigError(f"no limit is known for scenario {world.name!r}: " + "; ".join(found))
    return world
