"""The shipped scenarios: all load, and the reference worlds hold the published values."""

import re
from importlib import resources

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


def without(scenario: Scenario, *fields: str) -> dict[str, object]:
    return {key: value for key, value in scenario if key not in fields}


def test_presets__are_exactly_the_reference_worlds() -> None:
    expected = {f"markov-{n}" for n in MARKOV} | {"italy-50"}
    expected |= {f"study-{family}-{n}" for family in EXPECTED for n in STUDY}
    assert set(preset_names()) == expected


@pytest.mark.parametrize("name", preset_names())
def test_preset__loads_under_its_own_name_and_says_what_is_assumed(name: str, tmp_path) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    assert scenario.rule.cap == 0.03
    assert scenario.rule.source
    assert scenario.episode == day_of(name)
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
    assert re.search(r"[A-Za-z]/|/[A-Za-z]", text) is None
    assert max(len(line) for line in text.splitlines()) <= 100


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
