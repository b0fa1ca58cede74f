"""VICIdial, its fork OSDial, and the RatioManager add-on: one placer, three ways to move its level.

Written from a survey's description of the products (survey of dialers, section 1.1), not from their
code. The level L is a number of lines per agent. The placer, every 2.5 s, dials up to
L x agents lines, the lines that agents are talking on included: with L = 1 it is progressive.

How their words map to this world:

- READY (and DONE): idle. INCALL: in a conversation with a callee, a machine or, in blended
  campaigns, an inbound caller. QUEUE and DEAD take no time here: a call is handed over at once, and
  wrap-up begins when the callee hangs up.
- PAUSED: wrap-up (the disposition screen), breaks, and agents who are set aside for a call of the
  world. They are not counted by the placer, so wrap-up takes lines away; but they have a row in the
  live agents' table, and n of the differential counts all rows. Who is logged off has no row.
  Agents who take inbound calls only belong to another campaign.
- calls table: SENT and RINGING are the calls in flight, LIVE those that wait for an agent, XFER and
  CLOSER those that agents talk on.
- DROP: cut at the drop timer or gone before it, machines among them where the dialer cannot tell.
  Answers: conversations and drops. Calls: dials with an outcome, as the call log has them.
- One server; no trunk limits but the scenario's; the hopper never runs dry. `auto_dial_limit` of
  the system settings is raised as far as a level asks for.

The tick is 0.5 s; samples are taken each second, statistics refreshed each 60 s, the level moved
each 15 s, calls placed each 2.5 s, in this order where they fall together. All periods are counted
from the moment at which dialing opens. Next day the statistics of today, the samples and the
windows begin anew, and the level is that of last night, as in the product's database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from quietdial.agents.rules.base import ControllerRule
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.controllers.plug import checked_setting
from quietdial.envs.scenario import Scenario

DialMethod = Literal["RATIO", "ADAPT_HARD_LIMIT", "ADAPT_AVERAGE", "ADAPT_TAPERED"]
TargetMethod = Literal["ADAPT_CALC_ONLY", "CALLS_PLACED"]
Threshold = Literal["DISABLED", "LOGGED-IN_AGENTS", "NON-PAUSED_AGENTS", "WAITING_AGENTS"]
Inbound = Literal["N", "Y", "AS_THE_FLOOR"]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "dial_method": get_args(DialMethod),
    "dl_diff_target_method": get_args(TargetMethod),
    "available_only_tally_threshold": get_args(Threshold),
    "dial_level_threshold": get_args(Threshold),
    "campaign_allow_inbound": get_args(Inbound),
}
_SHORT_NAMES: Mapping[str, str] = {
    "RATIO": "ratio",
    "ADAPT_HARD_LIMIT": "hard-limit",
    "ADAPT_AVERAGE": "average",
    "ADAPT_TAPERED": "tapered",
}
_LONGEST_TIMER_S = 120


@dataclass(frozen=True)
class _LevelRule(ControllerRule):
    """What rules with words and switches among their settings have in common."""

    def __post_init__(self) -> None:
        """Refuse settings that the controller does not allow, and a knob that is no number."""
        for name, words in _CHOICES.items():
            if getattr(self, name, words[0]) not in words:
                raise ConfigError(
                    f"{self.controller}: {name} = {getattr(self, name)!r} must be one of: "
                    + ", ".join(words)
                )
        if not self.knob_name:
            object.__setattr__(self, "knob_name", self._usual_knob())
        values = self.settings
        for setting in self.described.settings:
            checked_setting(self.name, setting, values[setting.name])
        if self._setting(self.knob_name).unit in ("choice", "HHMM"):
            raise ConfigError(
                f"{self.name}: knob_name = {self.knob_name!r} is a choice or a time of day; "
                f"use a number such as {self._usual_knob()!r}"
            )

    @property
    def settings(self) -> dict[str, float]:
        """The value of every setting of the controller; words and switches as numbers."""
        values: dict[str, float] = {}
        for setting in self.described.settings:
            value = getattr(self, setting.name)
            if setting.name in _CHOICES:
                value = float(_CHOICES[setting.name].index(value))
            elif isinstance(value, bool):
                value = float(value)
            values[setting.name] = value
        return values

    def _usual_knob(self) -> str:
        if getattr(self, "dial_method", "") == "RATIO":
            return "auto_dial_level"
        return self.described.knob


@dataclass(frozen=True)
class VICIdial(_LevelRule):
    """VICIdial's level controller and call placer, with all documented settings.

    Level, every 15 s, in the three ADAPT modes: diff = mean ready - mean waiting calls and N = mean
    rows of live agents, over the last 15 samples; g = (diff + adaptive_dl_diff_target) / N; g is
    multiplied by 1 + intensity / 100 when it is positive and by 1 - intensity / 100 when negative;
    L <- L (1 + g), rounded to 3 decimals, between 1 and adaptive_maximum_level. More than 20 calls
    in the last minute and more than half of them dropped: L / 2. More than 50 calls today and
    drops / answers of today above adaptive_dropped_percentage: ADAPT_HARD_LIMIT sets L to 1;
    ADAPT_AVERAGE halves it, at every step while above; ADAPT_TAPERED multiplies it by
    (adaptive_latest_server_time - now) / 1000, both as whole numbers HHMM, by 1 when that is above
    1 and sets it to 1 when negative. Fewer agents than dial_level_threshold: 1. Never below 1.
    RATIO keeps L at auto_dial_level.

    Placer, every 2.5 s: counted = ready + INCALL agents; new calls = round(L x counted) - (in
    flight + waiting + talked on), halves to even, at least 0. With available_only_ratio_tally the
    INCALL agents and the calls talked on are left out on both sides.

    Blended campaigns take diff and N from the placer's last 20 loops (50 s), waiting inbound
    callers included in diff; N is then ready + INCALL agents. Inbound calls (waiting, and talked on
    by the campaign's own agents) count as existing lines only while no agent is ready.

    Source: survey of dialers, sections 1.1.a to 1.1.d and 4.1. Confidence: the survey read the
    source code. Our reading: fewer agents than available_only_tally_threshold_agents turn the
    available-only tally on; "calls in transfer" are the calls talked on; the agents of the blended
    differential; halves are rounded to even; waiting callees who are held after the regulator's
    limit are LIVE, and DROP only if no agent comes (`with_drop_timer`; a machine that is taken so
    late stays a DROP here). With incall_tally_threshold_seconds the ages of calls are those of the
    dialer's own table, never late. Drop-rate groups (pooled campaigns) are not modelled.

    Knob: in the ADAPT modes `adaptive_dl_diff_target`, agents, -40 to 40 (whole numbers in the
    product): -1 aims at one ready agent on average, +1 at one waiting call; `knob_name` takes any
    other number, as adaptive_maximum_level or adaptive_dropped_percentage. With RATIO it is
    `auto_dial_level`, lines per agent, 1 to 20. Best found at 1 % and 3 % silent on six scenarios:
    available_only_ratio_tally, adaptive_intensity -40, adaptive_maximum_level 12,
    adaptive_dropped_percentage 12 (a limit above the rate that is aimed at: below it, the limit
    throws the level about), tuned by the target.
    Sees: ready, INCALL, paused agents, calls in flight and waiting, its call log, local time.

    Attributes:
        dial_method: the mode.
        auto_dial_level: L of RATIO, start level of the others, lines per agent.
        adaptive_maximum_level: highest level of the ADAPT modes.
        adaptive_dropped_percentage: limit of today's drops / answers [%].
        adaptive_intensity: climbs faster and falls slower when positive [%], -40 to 40.
        adaptive_dl_diff_target: waiting calls less ready agents that the level is steered to.
        dl_diff_target_method: CALLS_PLACED also adds the target to the placer's counted agents.
        adaptive_latest_server_time: end of the day for ADAPT_TAPERED, HHMM.
        available_only_ratio_tally: count ready agents only.
        available_only_tally_threshold: agents that are counted for the following.
        available_only_tally_threshold_agents: with fewer of them, count ready agents only.
        incall_tally_threshold_seconds: INCALL agents count while their call is younger [s]; 0: all.
        dial_level_threshold: agents that are counted for the following.
        dial_level_threshold_agents: with fewer of them the level is 1.
        campaign_allow_inbound: blended campaign; AS_THE_FLOOR: where there are inbound calls.
        ofcom_uk_drop_calc: correct the drops for machines, by those that agents marked: with
            a = marked / (handled + marked), drops' = drops (1 - a), rate = drops' / (handled +
            drops').
    """

    controller: ClassVar[str] = "vicidial"

    dial_method: DialMethod = "ADAPT_TAPERED"
    auto_dial_level: float = 1.0
    adaptive_maximum_level: float = 3.0
    adaptive_dropped_percentage: float = 3.0
    adaptive_intensity: float = 0.0
    adaptive_dl_diff_target: float = 0.0
    dl_diff_target_method: TargetMethod = "ADAPT_CALC_ONLY"
    adaptive_latest_server_time: int = 2100
    available_only_ratio_tally: bool = False
    available_only_tally_threshold: Threshold = "DISABLED"
    available_only_tally_threshold_agents: int = 0
    incall_tally_threshold_seconds: float = 0.0
    dial_level_threshold: Threshold = "DISABLED"
    dial_level_threshold_agents: int = 0
    campaign_allow_inbound: Inbound = "AS_THE_FLOOR"
    ofcom_uk_drop_calc: bool = False

    @property
    def name(self) -> str:
        """`vicidial-` and the mode."""
        return f"vicidial-{_SHORT_NAMES[self.dial_method]}"


@dataclass(frozen=True)
class OSDial(_LevelRule):
    """OSDial: VICIdial's differential with a lowest level and a gentler average mode.

    As `VICIdial`, but N is the mean of the counted agents (ready + INCALL) and the level is at
    least adaptive_minimum_level. Above the limit ADAPT_AVERAGE looks at drops / answers of the last
    1 and 5 minutes: both within the limit, L <- L (1000 + m) / 1000; only that of 1 minute within,
    L stays; else L <- L (1000 - m) / 1000. More than 20 calls in the last minute and more than half
    of its answers dropped: L x 0.75 x 0.999.

    Source: survey of dialers, section 1.1.g (source code of 2014), settings as in 1.1.a. Our
    reading: in the average mode L is the level before the differential of this step, which so rests
    while the campaign is above its limit; the statistics are refreshed each 60 s and the placer is
    VICIdial's.
    Knob: `adaptive_dl_diff_target`, agents; with RATIO `auto_dial_level`. Loops and sight as
    `VICIdial`.

    Attributes:
        dial_method: the mode.
        auto_dial_level: L of RATIO, start level of the others, lines per agent.
        adaptive_minimum_level: lowest level.
        adaptive_maximum_level: highest level.
        adaptive_dropped_percentage: limit of drops / answers [%].
        adaptive_intensity: climbs faster and falls slower when positive [%].
        adaptive_dl_diff_target: waiting calls less ready agents that the level is steered to.
        adaptive_latest_server_time: end of the day for ADAPT_TAPERED, HHMM.
        available_only_ratio_tally: count ready agents only.
        average_step: m, thousandths of the level.
    """

    controller: ClassVar[str] = "osdial"

    dial_method: DialMethod = "ADAPT_AVERAGE"
    auto_dial_level: float = 1.0
    adaptive_minimum_level: float = 1.0
    adaptive_maximum_level: float = 3.0
    adaptive_dropped_percentage: float = 3.0
    adaptive_intensity: float = 0.0
    adaptive_dl_diff_target: float = 0.0
    adaptive_latest_server_time: int = 2100
    available_only_ratio_tally: bool = False
    average_step: float = 1.0

    @property
    def name(self) -> str:
        """`osdial-` and the mode."""
        return f"osdial-{_SHORT_NAMES[self.dial_method]}"


@dataclass(frozen=True)
class RatioManager(_LevelRule):
    """The RatioManager add-on: once a minute the level goes 0.1 up, 0.1 down, or stays.

    Today's drops / answers above the limit: down, if a call was dropped since the last step down.
    Otherwise up, if the ready agents have been ready longer on average than the threshold for their
    number: under 5, 5 to 9, 10 or more. Between lowest_level and highest_level.

    Source: the add-on's wiki page (survey of dialers, section 1.1.h). Confidence: documentation;
    the thresholds of waiting are built into the product and not published, so 15, 10 and 5 s are
    ours.
    Placer, statistics and sight as `VICIdial`; it also sees how long agents have been ready.
    Knob: `adaptive_dropped_percentage` [%].

    Attributes:
        adaptive_dropped_percentage: limit of today's drops / answers [%].
        lowest_level: lowest level, lines per agent; 3 to 4 is the page's neutral range.
        highest_level: highest level, not below the lowest.
        auto_dial_level: level at the start of the first day.
        long_wait_few_s: mean wait that is too long with under 5 ready agents [s].
        long_wait_some_s: with 5 to 9 [s].
        long_wait_many_s: with 10 or more [s].
        available_only_ratio_tally: count ready agents only.
    """

    controller: ClassVar[str] = "ratio-manager"

    adaptive_dropped_percentage: float = 3.0
    lowest_level: float = 3.0
    highest_level: float = 4.0
    auto_dial_level: float = 1.0
    long_wait_few_s: float = 15.0
    long_wait_some_s: float = 10.0
    long_wait_many_s: float = 5.0
    available_only_ratio_tally: bool = False

    def __post_init__(self) -> None:
        """Refuse a highest level below the lowest."""
        super().__post_init__()
        if self.highest_level < self.lowest_level:
            raise ConfigError(
                f"ratio-manager: highest_level = {self.highest_level} must be at least "
                f"lowest_level = {self.lowest_level}"
            )


def with_drop_timer(scenario: Scenario, drop_call_seconds: float) -> Scenario:
    """The scenario as a VICIdial server with another drop timer would make it.

    The worlds cut a waiting callee at the rule's `wait_limit_s`, which is a server whose
    `drop_call_seconds` equals the limit. With a shorter timer the callee is cut earlier, so more
    calls are silent; the timer counts from the answer. With a longer one (the product's default is
    5 s) the callee stays on the line after the limit, at most until the timer runs out: an agent
    who comes in between has a late conversation. It is a success to VICIdial, whose statistics then
    show fewer drops, but stays silent for the regulator. The rule's own counting does not change. A
    message that the rule plays at the limit falls away while the callee is held.

    Args:
        scenario: the world.
        drop_call_seconds: the timer, 0 to 120 [s]; counted from the answer when it is not longer
            than the rule's limit, else from the origin of the rule's clock.

    Returns:
        The same world with `rule.wait_limit_s`, or with `rule.at_limit` = "hold" and `rule.hold_s`;
        with the timer in its name.

    Raises:
        ConfigError: the timer is out of range.
    """
    if isinstance(drop_call_seconds, bool) or not 0 <= drop_call_seconds <= _LONGEST_TIMER_S:
        raise ConfigError(
            f"drop_call_seconds = {drop_call_seconds!r} must be a number of seconds between 0 and "
            f"{_LONGEST_TIMER_S}"
        )
    rule = scenario.rule
    changes: dict[str, object] = {}
    if drop_call_seconds < rule.wait_limit_s:
        changes = {"wait_limit_s": float(drop_call_seconds), "clock": "answer"}
        if rule.at_limit == "hold":
            changes["at_limit"] = "cut"
    elif drop_call_seconds > rule.wait_limit_s:
        changes = {"at_limit": "hold", "hold_s": float(drop_call_seconds - rule.wait_limit_s)}
    elif rule.at_limit == "hold":
        changes = {"at_limit": "cut"}
    name = f"{scenario.name[:50]}-drop-{drop_call_seconds:g}".replace(".", "-")
    plain = scenario.model_dump()
    plain["rule"] |= changes
    return Scenario.model_validate(plain | {"name": name})
