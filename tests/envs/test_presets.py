"""The shipped scenarios: all load, and the reference worlds hold the published values."""

import re
from importlib import resources

import numpy as np
import pytest

from quietdial.envs.calibrate import NOT_IDENTIFIED
from quietdial.envs.laws import (
    ConstantLaw,
    ExponentialLaw,
    GammaLaw,
    LognormalLaw,
    MixtureLaw,
    MixturePart,
    UniformLaw,
)
from quietdial.envs.loading import write_yaml
from quietdial.envs.part import Part, seconds_of
from quietdial.envs.regulation.calendar import sessions_of
from quietdial.envs.scenario import (
    Belief,
    Break,
    Calls,
    ConstantAnswer,
    DriftingAnswer,
    Episode,
    Floor,
    Scenario,
    Unanswered,
    load_scenario,
    preset_names,
)

MARKOV = (5, 10, 20, 50)
STUDY = (5, 10, 25, 50, 100)

TALK = LognormalLaw(mean_s=150, cv=1)
WRAP = LognormalLaw(mean_s=30, cv=0.6)
RING = GammaLaw(shape=3, scale_s=3, shift_s=3)
FAILED = UniformLaw(low_s=1, high_s=4)
BREAKS = Break(p_after_wrap=0.04, duration=LognormalLaw(mean_s=300, cv=0.5))
UNANSWERED = (
    Unanswered(outcome="busy", share=0.05, time=FAILED),
    Unanswered(outcome="invalid", share=0.10, time=FAILED),
    Unanswered(outcome="machine", share=0.25, time=UniformLaw(low_s=18, high_s=24)),
    Unanswered(outcome="no_answer", share=0.60, time=ConstantLaw(value_s=28)),
)
DRIFT = DriftingAnswer(
    p_low=0.12,
    p_high=0.45,
    season_amplitude=0.25,
    season_period_s=28_800,
    ou_sd=0.25,
    ou_tau_s=1_800,
    update_s=10,
)
ESTIMATED = Belief(answer_rate=None, prior_answered=2, prior_finished=8, memory_s=600)
SHIFTED_TALK = MixtureLaw(
    parts=(
        MixturePart(weight=0.35, law=LognormalLaw(mean_s=25, cv=0.5)),
        MixturePart(weight=0.65, law=LognormalLaw(mean_s=220, cv=0.5)),
    )
)
ITALIAN_TALK = MixtureLaw(
    parts=(
        MixturePart(weight=0.035439, law=LognormalLaw(mean_s=17.5985, cv=0.610218)),
        MixturePart(weight=0.964561, law=LognormalLaw(mean_s=265.9575, cv=0.968146)),
    )
)

# family: floor without the number of agents, calls, belief (feasibility study, part B)
EXPECTED: dict[str, tuple[dict[str, object], Calls, Belief]] = {
    "stat": (
        {"talk": TALK, "talk_day_sd": 0.0, "wrap": WRAP, "breaks": None},
        Calls(answer_rate=ConstantAnswer(p=0.25), time_to_answer=RING, unanswered=UNANSWERED),
        Belief(answer_rate=0.25),
    ),
    "real": (
        {"talk": TALK, "talk_day_sd": 0.2, "wrap": WRAP, "breaks": BREAKS},
        Calls(answer_rate=DRIFT, time_to_answer=RING, unanswered=UNANSWERED),
        ESTIMATED,
    ),
    "shift": (
        {
            "talk": SHIFTED_TALK,
            "talk_day_sd": 0.2,
            "wrap": LognormalLaw(mean_s=45, cv=1),
            "breaks": BREAKS,
        },
        Calls(
            answer_rate=DRIFT,
            time_to_answer=GammaLaw(shape=2, scale_s=5, shift_s=4),
            unanswered=UNANSWERED,
        ),
        ESTIMATED.model_copy(update={"talk": TALK, "wrap": WRAP, "time_to_answer": RING}),
    ),
}
CLOSE_S = {"markov": 35, "study-shift": 100}  # markov: too short for its longest calls, on purpose


def day_of(name: str) -> Episode:
    close_s = next((s for family, s in CLOSE_S.items() if name.startswith(family)), 70)
    return Episode(duration_s=28_800, close_s=close_s, decision_interval_s=1, start="10:00")


def without(part: Part, *fields: str) -> dict[str, object]:
    return {key: value for key, value in part if key not in fields}


REFERENCE = sorted(
    {f"markov-{n}" for n in MARKOV}
    | {"italy-50"}
    | {f"study-{family}-{n}" for family in EXPECTED for n in STUDY}
)
FLOORS = sorted(set(preset_names()) - set(REFERENCE))
ITALY = {
    5: "italy-5",
    10: "italy-10",
    25: "italy-25",
    50: "italy-50-full",
    100: "italy-100",
    500: "italy-500",
}


def agent_hours(scenario: Scenario) -> float:
    """Agent-hours of one day by the roster, lunch taken off."""
    episode, floor = scenario.episode, scenario.floor
    begin = seconds_of(episode.start)
    end = begin + episode.duration_s
    if not floor.shifts:
        return floor.n_agents * episode.duration_s / 3600
    return (
        sum(
            shift.n_agents
            * (
                min(end, seconds_of(shift.logout))
                - max(begin, seconds_of(shift.login))
                - (shift.lunch.duration if shift.lunch else 0)
            )
            for shift in floor.shifts
        )
        / 3600
    )


def test_presets__hold_the_reference_worlds_and_at_least_sixteen_floors() -> None:
    assert set(REFERENCE) <= set(preset_names())
    assert len(FLOORS) >= 16


@pytest.mark.parametrize("name", preset_names())
def test_preset__loads_under_its_own_name_and_says_what_is_assumed(name: str, tmp_path) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    assert scenario.rule.source
    assert scenario.assumptions
    known = scenario.model_dump()
    for field in scenario.assumptions:  # every assumption names a field of the scenario
        value: object = known
        for step in field.split("."):
            assert isinstance(value, dict)
            assert step in value, field
            value = value[step]
    write_yaml(tmp_path / "copy.yaml", scenario.model_dump(mode="json", exclude_none=True))
    assert load_scenario(tmp_path / "copy.yaml") == scenario


@pytest.mark.parametrize("name", preset_names())
def test_preset__names_no_path(name: str) -> None:
    text = resources.files("quietdial.envs").joinpath("presets", f"{name}.yaml").read_text("utf-8")
    assert ".md" not in text
    text = re.sub(r"time_zone: [A-Z][A-Za-z]+/[A-Z][A-Za-z_]+$", "", text, flags=re.MULTILINE)
    assert re.search(r"[A-Za-z]/|/[A-Za-z]", text) is None
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_preset__plays_one_day_at_three_percent_and_nothing_new(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.rule.cap == 0.03
    assert scenario.episode == day_of(name)
    assert scenario.people is None
    assert scenario.inbound is None
    assert scenario.floor.shifts == ()
    assert scenario.calls.detection.kind == "perfect"


@pytest.mark.parametrize("n_agents", STUDY)
@pytest.mark.parametrize("family", EXPECTED)
def test_study_preset__holds_the_values_of_the_study(family: str, n_agents: int) -> None:
    floor, calls, belief = EXPECTED[family]
    scenario = load_scenario(f"study-{family}-{n_agents}")
    assert scenario.floor == Floor.model_validate({"n_agents": n_agents, **floor})
    assert scenario.calls == calls
    assert scenario.belief == belief
    assert (scenario.rule.id, scenario.rule.wait_limit_s) == ("study", 3.0)
    assert (scenario.observation, scenario.action) == ("full", "residual")
    assert scenario.max_dials == {5: 4, 10: 6, 25: 12, 50: 22, 100: 42}[n_agents]


@pytest.mark.parametrize("n_agents", MARKOV)
def test_markov_preset__is_the_solvable_model(n_agents: int) -> None:
    scenario = load_scenario(f"markov-{n_agents}")
    end = ExponentialLaw(mean_s=12)
    assert scenario.floor == Floor(n_agents=n_agents, talk=ExponentialLaw(mean_s=180))
    assert scenario.calls == Calls(
        answer_rate=ConstantAnswer(p=0.25),
        time_to_answer=end,
        unanswered=(Unanswered(outcome="no_answer", share=1.0, time=end),),
    )
    assert scenario.belief == Belief(answer_rate=0.25)
    assert (scenario.rule.id, scenario.rule.wait_limit_s) == ("study", 0.0)
    assert (scenario.observation, scenario.action) == ("markov", "dials")


def test_italy_50__is_study_real_50_with_fitted_talk_and_the_italian_rule() -> None:
    italy, study = load_scenario("italy-50"), load_scenario("study-real-50")
    changed = ("name", "description", "credits", "assumptions", "rule", "floor")
    assert without(italy, *changed) == without(study, *changed)
    assert italy.floor == study.floor.model_copy(update={"talk": ITALIAN_TALK})
    assert (italy.rule.id, italy.rule.cap, italy.rule.wait_limit_s) == ("it_2014", 0.03, 3.0)
    assert "n. 83" in italy.rule.source


def test_italy_50__credits_the_data_and_names_what_they_cannot_tell() -> None:
    italy = load_scenario("italy-50")
    (credit,) = italy.credits
    for word in ("Moro", "Cortez", "Rita", "2014", "222", "CC BY 4.0"):
        assert word in credit
    named = set(italy.assumptions) | {"episode.start"}  # named there as 'episode'
    assert set(NOT_IDENTIFIED) <= named
    assert "episode" in italy.assumptions
    assert "floor.talk" not in italy.assumptions


def test_italy_50__talk_law_has_the_mean_of_the_calls_within_one_and_a_half_seconds() -> None:
    assert load_scenario("italy-50").floor.talk.sampled_mean_s() == pytest.approx(258.2, abs=1.5)


@pytest.mark.parametrize("name", FLOORS)
def test_floor__says_what_it_is_for_and_is_staffed_while_it_is_open(name: str) -> None:
    scenario = load_scenario(name)
    episode, shifts = scenario.episode, scenario.floor.shifts
    assert len(scenario.description) > 150
    assert len(scenario.description.split(". ")[0]) < 400
    begin = seconds_of(episode.start)
    end = begin + episode.duration_s
    assert min(seconds_of(shift.login) for shift in shifts) == begin
    assert max(seconds_of(shift.logout) for shift in shifts) == end


@pytest.mark.parametrize("name", FLOORS)
def test_floor__opens_within_the_permitted_hours_on_a_real_day(name: str) -> None:
    scenario = load_scenario(name)
    sessions = sessions_of(scenario)
    assert all(s.open_ms <= s.dial_ms < s.stop_ms < s.close_ms for s in sessions)
    if name != "contactcenters-blend":
        assert scenario.episode.first_day is not None
        assert scenario.episode.first_day.year == 2026
        assert sessions[0].date == scenario.episode.first_day
        assert sessions[0].wall_s == seconds_of(scenario.episode.start)


@pytest.mark.parametrize("name", sorted(set(FLOORS) - {"contactcenters-blend"}))
def test_floor__has_a_list_that_lasts_unless_it_is_meant_to_run_dry(name: str) -> None:
    """Most people a list can yield against the conversations that the roster has time for."""
    scenario = load_scenario(name)
    people, rate = scenario.people, scenario.calls.answer_rate
    assert people is not None
    assert isinstance(rate, DriftingAnswer)
    p = (rate.p_low * rate.p_high) ** 0.5
    days = len({session.date for session in sessions_of(scenario)})
    wrap = scenario.floor.wrap
    assert wrap is not None
    each_s = scenario.floor.talk.sampled_mean_s() + wrap.sampled_mean_s()
    wanted = agent_hours(scenario) * days * 3600 / each_s
    attempts = people.max_attempts if days > 1 else min(people.max_attempts, 3)
    reached = people.n_people * (1 - (1 - p) ** attempts)
    assert people.n_people <= 250_000  # memory of one campaign: some 10 MB
    if name in ("short-list-10", "germany-25"):
        assert reached < wanted
    else:
        assert reached > wanted


@pytest.mark.parametrize("name", FLOORS)
def test_floor__rings_out_before_its_sessions_close(name: str) -> None:
    scenario = load_scenario(name)
    calls = scenario.calls
    longest = (calls.setup.quantile_s(np.array([0.999]))[0] if calls.setup else 0.0) + (
        calls.ring_timeout_s or calls.time_to_answer.max_s()
    )
    assert scenario.episode.close_s > longest + scenario.rule.wait_limit_s


@pytest.mark.parametrize(("n_agents", "name"), ITALY.items())
def test_italian_family__differs_in_size_and_roster_only(n_agents: int, name: str) -> None:
    scenario, full = load_scenario(name), load_scenario("italy-50-full")
    assert scenario.floor.n_agents == n_agents
    assert without(scenario.floor, "n_agents", "shifts") == without(
        full.floor, "n_agents", "shifts"
    )
    assert without(scenario.calls, "trunks", "calls_per_s") == without(
        full.calls, "trunks", "calls_per_s"
    )
    assert scenario.people is not None
    assert full.people is not None
    assert without(scenario.people, "n_people") == without(full.people, "n_people")
    assert (scenario.rule, scenario.belief) == (full.rule, full.belief)
    assert 40 <= scenario.people.n_people / agent_hours(scenario) <= 120


def test_italy_50_full__is_italy_50_with_the_whole_world_around_it() -> None:
    full, plain = load_scenario("italy-50-full"), load_scenario("italy-50")
    assert full.floor.talk == plain.floor.talk
    assert full.floor.wrap == plain.floor.wrap
    assert full.floor.breaks == plain.floor.breaks
    assert isinstance(full.calls.answer_rate, DriftingAnswer)
    assert isinstance(plain.calls.answer_rate, DriftingAnswer)
    assert full.calls.answer_rate.p_low == plain.calls.answer_rate.p_low
    assert full.calls.answer_rate.p_high == plain.calls.answer_rate.p_high
    assert full.rule.wait_limit_s == plain.rule.wait_limit_s


def test_floors__use_every_part_of_the_schema_somewhere() -> None:
    floors = [load_scenario(name) for name in FLOORS]
    assert {s.calls.detection.kind for s in floors} == {"perfect", "none", "amd"}
    assert {s.rule.clock for s in floors} == {"answer", "greeting_start", "greeting_end"}
    assert {s.rule.at_limit for s in floors} >= {"cut", "message"}
    assert {w.kind for s in floors for w in s.rule.all_windows} >= {
        "campaign",
        "day",
        "days",
        "month",
    }
    assert {s.rule.country for s in floors} >= {"IT", "US", "GB", "DE", "FR", "CA", "AU"}
    assert any(s.inbound is not None for s in floors)
    assert any(s.belief.feed_delay_s > 0 for s in floors)
    assert any(s.episode.n_days == 30 for s in floors)
    assert any(
        isinstance(s.calls.answer_rate, DriftingAnswer) and s.calls.answer_rate.jumps_per_h > 0
        for s in floors
    )
    assert any(p.time_zone for s in floors if s.people for p in s.people.segments)


def test_contactcenters_blend__is_the_published_specification() -> None:
    """L'Ecuyer and Buist, ContactCenters library, example Blend: rates are per minute there."""
    scenario = load_scenario("contactcenters-blend")
    assert scenario.inbound is not None
    rates = [(p.begins, p.per_h) for p in scenario.inbound.periods]
    published = [("08:00", 68.45 / 30), ("10:00", 72.93 / 30), ("12:00", 71.92 / 30)]
    assert rates == [(begins, pytest.approx(60 * per_min)) for begins, per_min in published]
    assert scenario.inbound.day_factor == GammaLaw(shape=29.7, scale_s=0.0336700337)
    assert scenario.inbound.day_factor is not None
    assert scenario.inbound.day_factor.sampled_mean_s() == pytest.approx(1, abs=1e-3)
    assert scenario.inbound.talk == GammaLaw(shape=0.755, scale_s=753.8)
    assert scenario.inbound.patience == ExponentialLaw(mean_s=500)
    assert (scenario.inbound.p_balk, scenario.inbound.capacity) == (0.005, 80)
    assert scenario.floor.talk == ExponentialLaw(mean_s=440.2)
    groups = {
        group: [
            sum(
                s.n_agents
                for s in scenario.floor.shifts
                if s.group == group and s.login <= clock < s.logout
            )
            for clock in ("08:00", "10:00", "12:00")
        ]
        for group in ("inbound", "outbound")
    }
    assert groups == {"inbound": [23, 23, 21], "outbound": [16, 18, 16]}
    assert (scenario.blend.min_free, scenario.blend.min_free_outbound) == (4, 1)
    assert scenario.max_dials >= 2 * 18
    (session,) = sessions_of(scenario)
    assert (session.dial_ms, session.stop_ms, session.close_ms) == (
        3 * 3_600_000,
        5 * 3_600_000 + 55 * 60_000,
        6 * 3_600_000,
    )
