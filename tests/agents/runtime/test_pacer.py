"""The ladder of fallbacks, the operator, the lease, restarts: by hand-made events."""

import datetime
import math
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from quietdial.agents.runtime.budget import BudgetLoop, BudgetSettings
from quietdial.agents.runtime.calendar_session import calendar_session
from quietdial.agents.runtime.counters import Ages, Counters
from quietdial.agents.runtime.decision import Envelope, PacerSettings
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.evaluator import MarginalEvaluator, RatioEvaluator
from quietdial.agents.runtime.ledger_protocol import Tally
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.runtime.shield import unmet
from quietdial.agents.runtime.windows import Session
from quietdial.envs.pacing.chance import curves
from quietdial.envs.pacing.controllers.feedback import budget_threshold
from quietdial.envs.regulation.calendar import window_number
from quietdial.envs.regulation.rule import Window
from quietdial.envs.scenario import changed, load_scenario

from .conftest import Said, settings_for, tables_for

DAY = Session(0, 0, 7_000_000, 7_200_000)


@pytest.fixture(scope="module")
def tables():
    return tables_for("study-real-10")


def make(tables, policy=None, ledger=None, *, agents=5, **settings) -> Any:
    pacer = Pacer(
        tables,
        policy or Said("counters"),
        ledger or MemoryLedger(),
        settings_for(**{"shield": None, **settings}),
    )
    pacer.open_session(DAY)
    for agent in range(agents):
        pacer.agent(f"agent-{agent}", 0, "idle")
    pacer.tick(0)
    return pacer


def conversations(pacer: Pacer, n: int, at_ms: int = 1000) -> None:
    """So many calls are dialed, picked up, connected, and their agents idle again."""
    for i in range(n):
        call = f"past-{at_ms}-{i}"
        pacer.dialed(call, at_ms)
        pacer.picked_up(call, at_ms)
        pacer.connected(call, at_ms)
    pacer.tick(at_ms)


def test_policy_answers_with_lease_and_number(tables):
    pacer = make(tables, lease_ms=1234)
    pacer.policy.value = 3
    first, second = pacer.decide(0), pacer.decide(1000)
    assert (first.dials, first.mode, first.reason, first.guards) == (3, "policy", "", ())
    assert (first.seq, second.seq) == (1, 2)
    assert second.valid_until_ms == 2234
    assert not first.fallback
    assert pacer.ledger.decisions[0][1] == first.to_dict()


def test_cold_start_is_progressive_and_says_so(tables):
    pacer = make(tables, cold_start_answered=20)
    pacer.policy.value = 4
    cold = pacer.decide(0)
    assert (cold.mode, cold.dials) == ("progressive", 5)
    assert cold.reason == "cold start: 0 of 20 answered calls"
    conversations(pacer, 20)
    assert pacer.decide(1000).mode == "policy"


@pytest.mark.parametrize(
    ("observed_ms", "now_ms", "reason"),
    [
        (0, 2001, "stale observation: 2001 ms"),
        (2000, 1000, "observation from the future: 1000 ms"),
    ],
)
def test_observations_of_another_time_are_not_used(tables, observed_ms, now_ms, reason):
    pacer = make(tables)
    pacer.policy.value = 4
    decision = pacer.decide(now_ms, observed_ms)
    assert (decision.dials, decision.mode, decision.reason) == (0, "progressive", reason)


def test_a_clock_that_runs_back_is_noticed(tables):
    pacer = make(tables)
    pacer.tick(60_000)
    assert pacer.decide(0, 0).reason == "clock ran back: 60000 ms"
    assert pacer.decide(60_000).mode == "policy"


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"valid": False}, "not valid: a feature is out of its range"),
        ({"value": math.nan}, "answer nan is not finite"),
        ({"value": math.inf}, "answer inf is not finite"),
    ],
)
def test_a_policy_without_an_answer_is_replaced_by_its_table_then_by_progressive(
    tables, policy, reason
):
    said = Said("counters")
    vars(said).update(policy)
    pacer = make(tables, said)
    below = pacer.decide(0)
    assert (below.mode, below.dials, below.reason) == ("progressive", 5, reason)
    pacer.table = Said("none")
    pacer.table.value = 2
    below = pacer.decide(0)
    assert (below.mode, below.dials, below.reason) == ("table", 2, reason)


def test_a_policy_that_fails_is_replaced(tables):
    class Broken(Said):
        def answer(self, obs, base):
            raise ZeroDivisionError("by hand")

    decision = make(tables, Broken("counters")).decide(0)
    assert (decision.mode, decision.reason) == ("progressive", "failed: ZeroDivisionError: by hand")


def test_outside_of_the_envelope_and_with_few_agents_it_falls_back(tables):
    pacer = make(tables, envelope=Envelope(present=(6, 12)))
    assert pacer.decide(0).reason == "outside envelope: present 5 not in 6..12"
    pacer = make(tables, envelope=Envelope(answer_rate=(0.3, 0.6)))
    assert pacer.decide(0).reason == "outside envelope: answer_rate 0.25 not in 0.3..0.6"
    pacer = make(tables, min_agents=6)
    assert pacer.decide(0).reason == "too few agents: 5 of 6"


def test_operator_stops_overrides_and_resumes_and_all_is_noted(tables):
    pacer = make(tables)
    pacer.policy.value = 3
    pacer.stop(0, by="anna")
    assert (pacer.decide(0).dials, pacer.decide(0).mode) == (0, "stop")
    assert pacer.permit("hash", 0) == (False, "stopped by anna")
    pacer.resume(0, by="anna")
    pacer.override(0, 1.2, by="anna", until_ms=5000)
    assert (pacer.decide(0).dials, pacer.decide(0).mode) == (6, "override")
    pacer.tick(5000)
    assert pacer.decide(5000).mode == "policy"
    assert [what for _, what, _ in pacer.ledger.notes] == ["stop", "resume", "override"]
    with pytest.raises(PacerError, match="ratio = nan"):
        pacer.override(0, math.nan, by="anna")


def test_outside_dialing_hours_nothing_is_placed(tables):
    pacer = make(tables)
    pacer.policy.value = 3
    pacer.tick(7_000_000)
    decision = pacer.decide(7_000_000)
    assert (decision.dials, decision.mode, decision.reason) == (0, "stop", "outside dialing hours")


def test_above_the_cap_it_falls_to_progressive_or_stops(tables):
    for at_cap, mode in (("progressive", "progressive"), ("stop", "stop"), ("policy", "policy")):
        pacer = make(tables, at_cap=at_cap)
        pacer.dialed("a", 0)
        pacer.picked_up("a", 0)
        pacer.dropped("a", 0, "cut")
        pacer.tick(0)
        assert pacer.decide(0).mode == mode
        over = "" if at_cap == "policy" else "cap reached: 1 of 1 in the campaign window"
        assert pacer.decide(0).reason == over


def test_guards_cut_the_answer_and_say_so(tables):
    pacer = make(tables)
    pacer.policy.value = 1000
    decision = pacer.decide(0)
    assert (decision.asked, decision.dials) == (1000, tables.max_dials)
    assert decision.guards == ("most calls",)


def test_shield_stands_behind_the_operator_too(tables):
    pacer = Pacer(tables, Said("none"), MemoryLedger(), PacerSettings(unix_clock=False))
    pacer.open_session(DAY)
    for agent in range(2):
        pacer.agent(f"agent-{agent}", 0, "idle")
    pacer.tick(0)
    pacer.override(0, 3.0, by="anna")
    decision = pacer.decide(0)
    assert (decision.asked, decision.dials, decision.guards) == (6, 2, ("shield",))
    assert (pacer.shield_acts, pacer.shield_calls) == (1, 4)


def test_conditions_that_do_not_hold_are_told(tables):
    pacer = Pacer(tables, Said("none"), MemoryLedger(), settings_for(), n_agents=4)
    assert pacer.unmet_conditions() == ["there is no shield"]
    pacer = Pacer(tables, Said("none"), MemoryLedger(), PacerSettings(unix_clock=False))
    pacer.open_session(DAY)
    pacer.agent("anna", 0, "idle")
    pacer.dialed("a", 0)
    assert pacer.unmet_conditions() == []
    pacer.agent("anna", 500, "break")
    assert pacer.unmet_conditions() == [
        "2: idle agents left for something else while calls were in flight, 1 times so far"
    ]
    pacer.plan("anna", out_ms=900)
    assert any("use `reserves`" in line for line in pacer.unmet_conditions())
    machines = Pacer(tables_for("uk-50"), Said("none"), MemoryLedger())
    assert [line[0] for line in machines.unmet_conditions()] == ["1", "1"]


def test_a_restart_goes_on_from_the_ledger(tables):
    ledger = MemoryLedger()
    before = make(tables, ledger=ledger)
    conversations(before, 30, at_ms=5000)
    before.dialed("silent", 5000)
    before.picked_up("silent", 5000)
    before.dropped("silent", 8000, "cut")
    for i in range(3):
        before.dialed(f"flying-{i}", 9000 + i)

    after = Pacer(tables, Said("counters"), ledger, settings_for())
    after.open_session(DAY, 10_000)
    view = after.view(10_000)
    assert view.windows == [(1.0, 31.0)]
    assert view.in_flight == 3
    assert view.rate > 0.8  # it remembers that people answered
    after.picked_up("flying-0", 10_500)
    after.connected("flying-0", 10_500)
    after.ended("flying-1", 10_600)
    assert ledger.tally(0) == Tally(conversation=31, cut=1, unanswered=1)
    assert after.view(11_000).windows == [(1.0, 32.0)]


def test_events_of_unknown_calls_are_counted_once(tables):
    pacer = make(tables)
    pacer.connected("unheard", 1000)
    pacer.dropped("unheard", 1500, "cut")
    assert pacer.ledger.tally(0) == Tally(conversation=1)
    assert pacer.view(2000).in_flight == 0


def test_dials_without_an_end_are_forgotten_and_noted(tables):
    pacer = make(tables)
    pacer.dialed("lost", 0)
    pacer.tick(600_000)
    pacer.decide(600_000)
    assert pacer.view(600_000).in_flight == 0
    assert pacer.ledger.notes[-1][1:] == ("lost", {"call": "lost"})
    assert any("no end was told" in line for line in unmet(pacer, reserves=False))


def test_a_ledger_that_fails_is_noticed_and_told_everything_later(tables):
    class Full(MemoryLedger):
        full = True

        def settled(self, call, at_ms, outcome):
            if self.full:
                raise OSError(28, "No space left on device")
            return super().settled(call, at_ms, outcome)

        def decided(self, at_ms, decision):
            if self.full:
                raise OSError(28, "No space left on device")
            super().decided(at_ms, decision)

    ledger = Full()
    pacer = make(tables, ledger=ledger)
    conversations(pacer, 3)
    decision = pacer.decide(1000)
    assert (decision.mode, decision.dials) == ("progressive", 5)
    assert decision.reason.startswith("ledger failed: OSError: [Errno 28] No space left")
    assert ledger.tally(0) == Tally()
    ledger.full = False
    assert pacer.decide(1000).mode == "policy"
    assert ledger.tally(0) == Tally(conversation=3)


def test_budget_loop_moves_thresholds_every_15_seconds(tables):
    budget = BudgetSettings(kappa=10.0, target=0.03)
    pacer = make(tables, MarginalEvaluator(0.02), agents=10, budget=budget)
    conversations(pacer, 40)
    for agent in range(10):
        pacer.agent(f"agent-{agent}", 1000, "talk")
    for i in range(10):
        pacer.dropped(f"cut-{i}", 1000, "cut")
    pacer.tick(1000)
    pacer.decide(1000)
    expected = math.exp(10.0 * (0.03 * 50 - 10) / 50)
    assert pacer.budget_factor == pytest.approx(expected, rel=1e-5)


def test_budget_loop_plans_with_the_answer_rate_that_the_pacer_sees(tables):
    pacer = make(tables, MarginalEvaluator(0.02), budget=BudgetSettings(10.0, 0.03, margin=3.0))
    conversations(pacer, 40)
    for i in range(3):
        pacer.dropped(f"cut-{i}", 1000, "cut")
    pacer.tick(1000)
    pacer.decide(1000)
    view = pacer.view(1000)
    assert abs(view.rate - 0.25) > 0.1
    told = (*view.windows[0], view.spent_ms, view.span_ms)
    expected, usual = (
        budget_threshold(curves(), 1.0, 10.0, 0.03, 3.0, *told, p) for p in (view.rate, 0.25)
    )
    assert pacer.budget_factor == expected != usual


def test_budget_loop_has_the_bits_of_the_simulators():
    rng = np.random.default_rng(8)
    for margin in (0.0, 0.5, 3.0):
        for _ in range(300):
            kappa, target = rng.uniform(0.0, 60.0), rng.uniform(0.005, 0.1)
            answered, spent_ms = int(rng.integers(0, 3000)), int(rng.integers(0, 28_800_001))
            silent = int(rng.binomial(answered, target))
            loop = BudgetLoop(BudgetSettings(kappa, target, margin))
            told = (silent, answered, spent_ms, 28_800_000, rng.uniform(0.01, 0.99))
            found = loop.told(0, *told)
            expected = budget_threshold(curves(), 1.0, kappa, target, margin, *told)
            assert found == expected


def test_levels_are_lines_per_agent_at_work(tables):
    class Level(Said):
        def __init__(self):
            super().__init__("none")
            self.answers = "level"

    level = Level()
    level.value = 2.5
    pacer = make(tables, level, agents=2)
    pacer.agent("agent-0", 0, "talk")
    pacer.dialed("a", 0)
    decision = pacer.decide(0)
    assert (decision.level, decision.dials) == (2.5, 4)
    assert make(tables, level, cold_start_answered=5).decide(0).level == 1.0


def test_ratio_policy(tables):
    pacer = make(tables, RatioEvaluator(1.5), agents=4)
    assert pacer.decide(0).dials == 6


def counted(**given) -> Counters:
    """Counters of an empty floor, some of them given."""
    plain = dict.fromkeys(Counters._fields, 0)
    plain |= {"windows": ((0.0, 0.0),), "list_left": 1.0, "ages": None}
    return Counters(**{**plain, **given})


def test_counters_never_fall(tables):
    pacer = make(tables)
    pacer.decide_from(counted(finished=5))
    with pytest.raises(PacerError, match="totals only grow"):
        pacer.decide_from(counted(at_ms=1000, finished=4))
    assert pacer.decide_from(counted(), 60_000).reason == "stale observation: 60000 ms"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: make(t, Said("leads")), "the runtime knows"),
        (lambda t: make(t).agent("a", 0, "asleep"), "use one of idle"),
        (lambda t: make(t, agents=11), "the roster has 10 agents"),
        (lambda t: make(t).dropped("a", 0, "bored"), "use 'cut' or 'left'"),
        (lambda t: make(t).open_session(Session(0, 0, 5, 9, (0, 1))), "2 window numbers"),
        (lambda t: Session(5, 4, 6, 7), "must be in order"),
        (lambda t: settings_for(lease_ms=0), "lease_ms = 0"),
        (lambda t: make(t, MarginalEvaluator()).decide_from(counted()), "needs the ages"),
        (lambda t: make(t, Said("wide")).decide_from(counted()), "observes the set 'wide'"),
        (lambda t: make(t).decide_from(counted(talk=2, ages=Ages(talk=(1.0,)))), "'talk': 1 of 2"),
        (lambda t: make(t).decide_from(counted(wrap=1, ages=Ages(wrap=(-1.0,)))), "'wrap': 1 of 1"),
        (lambda t: make(t).decide_from(counted(talk=11)), "11 agents of 10"),
        (lambda t: make(t).decide_from(counted(waiting=-1)), "least count -1"),
        (lambda t: make(t).decide_from(counted(windows=())), "0 windows; the rule has 1"),
        (lambda t: settings_for(at_cap="pray"), "at_cap = 'pray'"),
        (lambda t: BudgetSettings(kappa=-1), "kappa = -1"),
        (lambda t: BudgetSettings(margin=-1), "margin = -1"),
    ],
)
def test_wrong_input_is_refused_with_one_line(tables, call, message):
    with pytest.raises(PacerError, match=message) as caught:
        call(tables)
    assert "\n" not in str(caught.value)


# --- calendar ---------------------------------------------------------------------------------


def test_calendar_session__numbers_windows_as_the_rules_do():
    scenario = load_scenario("italy-50-full")
    windows = [
        Window(kind="campaign", cap=0.03),
        Window(kind="day", cap=0.03),
        Window(kind="days", length=3, cap=0.03),
        Window(kind="month", cap=0.03),
    ]
    rule = {"profile": "it_2014", "windows": [w.model_dump() for w in windows]}
    tables = tables_for(changed(scenario, rule=rule))
    first = datetime.date(2026, 1, 30)
    for days in (0, 1, 2, 3, 40, 70):
        day = first + datetime.timedelta(days)
        zone = ZoneInfo("Europe/Rome")
        opens = datetime.datetime.combine(day, datetime.time(10), zone)
        opens_ms = round(1000 * opens.timestamp())
        session = calendar_session(tables, first, opens_ms, opens_ms + 28_800_000)
        assert list(session.windows) == [window_number(w, first, day) for w in windows]
        begins = [
            datetime.datetime.fromtimestamp(ms / 1000, zone).date() for ms in session.begins_ms
        ]
        assert begins[0] == first
        assert begins[1] == day
        assert begins[2] == first + datetime.timedelta(days // 3 * 3)
        assert begins[3] == max(day.replace(day=1), first)
        assert session.dial_until_ms == session.closes_ms - tables.settled_ms
    with pytest.raises(PacerError, match="before the campaign's first day"):
        calendar_session(tables, datetime.date(2027, 1, 1), opens_ms, opens_ms + 1)


# --- hard rules ---------------------------------------------------------------------------------


def at(text: str) -> int:
    """Unix time of a moment in Rome [ms]."""
    zone = datetime.timezone(datetime.timedelta(hours=1))
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def days(begin: str, end: str) -> Session:
    """One long session."""
    return Session(at(begin), at(begin), at(end), at(end))


@pytest.fixture
def italian() -> Any:
    tables = tables_for("italy-50")
    pacer = Pacer(tables, Said("none"), MemoryLedger(), settings_for(unix_clock=True))
    pacer.open_session(days("2026-03-01T00:00", "2026-03-31T23:00"))
    return pacer


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-03-02T08:59:59", False),  # a Monday
        ("2026-03-02T09:00", True),
        ("2026-03-02T20:59:59", True),
        ("2026-03-02T21:00", False),
        ("2026-03-07T09:59", False),  # a Saturday
        ("2026-03-07T10:00", True),
        ("2026-03-08T12:00", False),  # a Sunday
    ],
)
def test_calls_ring_in_the_permitted_hours_only(italian, moment, open_):
    assert italian.permit("hash", at(moment)).ok == open_
    italian.tick(at(moment))
    assert (italian.decide(at(moment)).mode != "stop") == open_


def test_on_holidays_the_hours_of_holidays_hold(italian):
    italian.rules.holidays = frozenset({datetime.date(2026, 3, 2)})
    assert not italian.permit("hash", at("2026-03-02T12:00")).ok


def test_a_person_rests_after_a_silent_call_and_then_needs_an_agent(italian):
    silent = at("2026-03-02T12:00")
    italian.dialed("a", silent, person="hash")
    italian.picked_up("a", silent)
    italian.dropped("a", silent, "cut")
    later = at("2026-03-04T12:00")
    assert italian.permit("hash", later).reason == "rests after a silent call"
    assert italian.permit("other", later).ok
    rested = at("2026-03-09T12:00")
    assert "agent set aside" in italian.permit("hash", rested).reason
    assert italian.permit("hash", rested, reserved=True).ok


def test_caps_of_attempts_by_day_week_month_and_campaign():
    tables = tables_for("italy-50")
    vars_ = {"per_day": 2, "per_week": 3, "per_30_days": 4, "per_campaign": 5}
    limited = type(tables)(**{**vars(tables), **vars_})
    pacer = Pacer(limited, Said("none"), MemoryLedger(), settings_for(unix_clock=True))
    pacer.open_session(days("2026-03-01T00:00", "2026-05-30T23:00"))
    reasons = []
    for moment in (
        "2026-03-02T12:00",  # Monday
        "2026-03-02T13:00",
        "2026-03-02T14:00",  # third of the day
        "2026-03-04T12:00",
        "2026-03-05T12:00",  # fourth of the week
        "2026-03-09T12:00",
        "2026-03-16T12:00",  # fifth in 30 days
        "2026-04-02T12:00",
        "2026-05-20T12:00",  # sixth in the campaign
    ):
        permit = pacer.permit("hash", at(moment))
        reasons.append(permit.reason)
        if permit.ok:
            pacer.dialed(moment, at(moment), person="hash")
    assert reasons == [
        "",
        "",
        "dialed 2 times today",
        "",
        "dialed 3 times this week",
        "",
        "dialed 4 times in 30 days",
        "",
        "dialed 5 times in the campaign",
    ]
