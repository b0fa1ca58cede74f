"""The floor: what a dialer reaches that looks at nothing and dials as a Poisson stream."""

from __future__ import annotations

import math
from typing import NamedTuple

from quietdial.agents.limits.covered import plain_world, times_of
from quietdial.envs.scenario import ConstantAnswer, Scenario, load_scenario
from quietdial.envs.theory import fixed_patience, load_at_loss


class BlindFloor(NamedTuple):
    """What dialing at a constant rate, without looking, reaches.

    Attributes:
        utilisation: conversation and wrap-up / (logged in and not on break).
        silent_rate: silent / answered.
        answered_per_s: rate of the answered calls [1/s].
        dials_per_s: rate of the dials [1/s], at the middle of the answer rate's range.
    """

    utilisation: float
    silent_rate: float
    answered_per_s: float
    dials_per_s: float


def blind_floor(scenario: str | Scenario, silent_rate: float | None = None) -> BlindFloor:
    """Utilisation of state-blind Poisson dialing at a silent rate: M/M/n + D, closed form.

    An agent is away for the conversation, the wrap-up and the break that may follow, H + B seconds
    on average; the wait limit is D. With rho the share of the time in which an agent is away,
    utilisation = rho H / (H + B) / (1 - rho B / (H + B)). For D = 0 this is exact for every law of
    the times (Erlang B is insensitive); for D > 0 it is exact for exponential times and was found
    within .25 points for lognormal ones. Answered calls must come at a constant rate: where the
    answer rate drifts, the figure is that of a dialer that is blind to the floor but knows p(t).

    Args:
        scenario: name, file or model; without inbound calls, shifts, people or machines at agents.
        silent_rate: silent / answered; none: the rule's cap.
    """
    world = plain_world(load_scenario(scenario))
    rate = world.rule.cap if silent_rate is None else float(silent_rate)
    times = times_of(world)
    away_s = times.handle_s + times.break_s
    per_s = load_at_loss(times.n_agents, away_s, world.rule.wait_limit_s, rate)
    figures = fixed_patience(times.n_agents, per_s, away_s, world.rule.wait_limit_s)
    share = figures.utilisation
    utilisation = share * times.handle_s / (away_s - share * times.break_s)
    answer = world.calls.answer_rate
    p = answer.p if isinstance(answer, ConstantAnswer) else math.sqrt(answer.p_low * answer.p_high)
    return BlindFloor(utilisation, figures.lost, per_s, per_s / p)
