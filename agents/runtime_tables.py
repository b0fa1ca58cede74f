"""Write what the runtime knows of a floor (`pacing.json`) from the world that it was trained in.

The runtime itself (`agents/runtime/`) has no simulator; these are the same arrays that the compiled
features read.
"""

from __future__ import annotations

from typing import Any, Final, cast

import numpy as np

from quietdial.agents.runtime.tables import GRID, STATES, PacingTables, Window
from quietdial.envs.pacing.chance import PHI_AT, PHI_LAST, PHI_LIMIT, PHI_PER_UNIT
from quietdial.envs.pacing.outlook import AGE_SHIFT
from quietdial.envs.pacing.params import (
    FEED_STEPS,
    KEEP,
    KNOWN_RATE,
    N_LINES,
    PRIOR_RATE,
    PRIOR_WEIGHT,
    SHIELD_RATE_PER_S,
    SHIELD_SETTLED_MS,
    STEP_MS,
    make_params,
)
from quietdial.envs.pacing.shield import Shield, write_shield
from quietdial.envs.part import seconds_of
from quietdial.envs.scenario import Scenario, load_scenario

LOW_ANSWER_RATE: Final = 0.1
"""One dial in ten answered: the bad day that a borrowing shield has to survive as exported."""
LOW_SHARE: Final = 0.7
"""Share of progressive dialing's pace that is counted on: agents take breaks, and a day's talks may
be longer than believed."""


def low_pace(scenario: Scenario) -> float:
    """Answered calls of an agent and second that even a bad day brings: r of a borrowing shield.

    Formula: .7 / (talk + wrap-up + ringing + (1 - p) / p x time of a dial that nobody answers): the
    pace of one line for each agent, at p = .1 or half of the believed answer rate if that is less.
    The shield of the training world counts on more (`quietdial.envs.pacing.shield`): on the pace of
    a usual day.
    """
    belief, calls = scenario.belief, scenario.calls
    believed = belief.answer_rate or belief.prior_answered / belief.prior_finished
    p = min(LOW_ANSWER_RATE, believed / 2.0)
    laws = (
        belief.talk or scenario.floor.talk,
        belief.wrap or scenario.floor.wrap,
        belief.time_to_answer or calls.time_to_answer,
    )
    setup_s = 0.0 if calls.setup is None else calls.setup.sampled_mean_s()
    answered_s = setup_s + sum(law.sampled_mean_s() for law in laws if law is not None)
    others_s = setup_s + sum(part.share * part.time.sampled_mean_s() for part in calls.unanswered)
    return LOW_SHARE / max(answered_s + (1.0 - p) / p * others_s, 1.0)


def pacing_tables(scenario: str | Scenario, *, base_theta: float = 0.02) -> PacingTables:
    """What the runtime must know of a scenario's floor.

    Only what a dialer believes goes in: the scenario's `belief`, never the hidden levels of a day.

    Args:
        scenario: the world, or its name.
        base_theta: threshold of the rule below residual actions.
    """
    scenario = load_scenario(scenario)
    params = make_params(
        scenario,
        silent_penalty=0.0,
        base_theta=base_theta,
        random_start=False,
        horizon_s=None,
        full=True,
    )
    rule, n, x = scenario.rule, params.n, params.x
    write_shield(Shield(cap=min(rule.all_windows[0].cap, 0.5)), scenario, params)
    q = params.release
    release = np.zeros((len(STATES), q.shape[1], 2 * GRID))
    release[1:, :, :GRID] = q
    release[1:, :, GRID:] = q * (1.0 - q)
    attempts = rule.attempts
    return PacingTables(
        scenario=scenario.name,
        n_agents=scenario.floor.n_agents,
        n_lines=int(n[N_LINES]),
        max_dials=scenario.max_dials,
        step_ms=int(n[STEP_MS]),
        windows=tuple(Window(w.kind, w.length, w.cap) for w in rule.all_windows),
        counts_cut=rule.counts_cut,
        counts_left=rule.counts_left,
        counts_amd=rule.counts_amd,
        detection=cast(Any, scenario.calls.detection.kind),
        ofcom=rule.estimate == "ofcom",
        audited_share=scenario.calls.detection.audited_share,
        at_limit=rule.at_limit,
        message_ms=round(1000 * rule.message_s),
        feed_delay_ms=int(n[FEED_STEPS]) * int(n[STEP_MS]),
        known_rate=bool(n[KNOWN_RATE]),
        prior_rate=float(x[PRIOR_RATE]),
        prior_weight=float(x[PRIOR_WEIGHT]),
        keep=tuple(float(keep) for keep in x[KEEP:]),
        base_theta=base_theta,
        weight=params.grid_weight,
        age_shift=AGE_SHIFT,
        release=release,
        ring=params.ring,
        phi_limit=PHI_LIMIT,
        phi_per_unit=PHI_PER_UNIT,
        phi=params.curves[PHI_AT : PHI_AT + PHI_LAST + 1],
        settled_ms=int(n[SHIELD_SETTLED_MS]),
        answers_per_agent_s=min(low_pace(scenario), float(x[SHIELD_RATE_PER_S])),
        quarantine_ms=round(1000 * rule.quarantine_s),
        reserved_after_silent=rule.reserved_after_silent,
        per_day=attempts.per_day or 0,
        per_week=attempts.per_week or 0,
        per_30_days=attempts.per_30_days or 0,
        per_campaign=attempts.per_campaign or 0,
        hours=_hours(scenario),
        time_zone=scenario.episode.time_zone,
    )


def _hours(scenario: Scenario) -> dict[str, tuple[tuple[int, int], ...]]:
    """The rule's permitted hours by kind of day, as seconds since midnight."""
    hours = scenario.rule.hours
    kinds = {
        kind: getattr(hours, kind) for kind in ("weekday", "saturday", "sunday", "holiday", "eve")
    }
    return {
        kind: tuple((seconds_of(opens), seconds_of(closes)) for opens, closes in spans)
        for kind, spans in kinds.items()
        if spans is not None
    }
