"""Planning: the numbers of agents and the rates that exact models give."""

import json
from pathlib import Path

import numpy as np
import pytest

from quietdial.agents.optimal import solve
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.cli import main
from quietdial.experiments.planning import (
    OPTIMUM,
    Planner,
    _smallest,
    agents_sentence,
    policy_maker,
    rate_sentence,
)

RATE = 0.03


def exact_per_h(n_agents: int, rate: float) -> float:
    """Conversations per hour of the exact optimum in the long run."""
    world = MarkovWorld.of(load_scenario("markov-10"))
    return n_agents * solve(n_agents, *world[1:4], rate, world[4]).conversations_per_agent_h


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner(load_scenario("markov-10"), policy_maker(OPTIMUM), test_days=8)


def test_number_of_agents_is_the_exact_one(planner: Planner) -> None:
    wanted = 0.5 * (exact_per_h(6, RATE) + exact_per_h(7, RATE))
    plan = planner.agents_for(wanted, RATE)
    assert plan.n_agents == 7
    assert plan.at_least <= 7 <= plan.at_most <= 8
    by_number = {one.n_agents: one for one in plan.tried}
    assert by_number[6].per_h.value < wanted <= by_number[7].per_h.value
    for number, one in by_number.items():  # a day starts and ends with an empty floor
        assert one.per_h.value == pytest.approx(exact_per_h(number, RATE), rel=0.03)
    sentence = agents_sentence(plan)
    assert sentence.startswith("7 agents (")
    assert len(plan.tried) <= 5


def test_more_conversations_or_fewer_silent_calls_take_more_agents(planner: Planner) -> None:
    wanted = 0.5 * (exact_per_h(6, RATE) + exact_per_h(7, RATE))
    assert planner.agents_for(1.3 * wanted, RATE).n_agents > 7
    assert planner.agents_for(wanted, 0.001).n_agents >= 7
    assert planner.agents_for(0.01 * wanted, RATE).n_agents == 1
    with pytest.raises(ConfigError, match="more than 3 agents"):
        planner.agents_for(wanted, RATE, most_agents=3)
    with pytest.raises(ConfigError, match="above 0"):
        planner.agents_for(0.0, RATE)


def test_rate_for_a_number_of_agents_contains_the_exact_one(planner: Planner) -> None:
    rates = (0.01, 0.02, 0.04)
    wanted = exact_per_h(10, 0.02)
    plan = planner.rate_for(wanted, 10, rates)
    assert plan.rate is not None
    assert plan.rate.lo <= 0.02 <= plan.rate.hi
    assert plan.rate.lo < plan.rate.value < plan.rate.hi
    assert "10 agents have" in rate_sentence(plan)
    few, many = planner.rate_for(10.0, 10, rates), planner.rate_for(1000.0, 10, rates)
    assert (few.rate, few.enough, many.rate, many.enough) == (None, True, None, False)
    assert "already at" in rate_sentence(few)
    assert "more agents are needed" in rate_sentence(many)


@pytest.mark.parametrize("answer", [1, 2, 7, 40, 100])
@pytest.mark.parametrize("guess", [1, 6, 50, 100])
def test_smallest_is_found_from_any_guess_in_few_looks(answer: int, guess: int) -> None:
    looked: list[int] = []

    def reaches(number: int) -> bool:
        looked.append(number)
        return number >= answer

    assert _smallest(reaches, guess, 100) == answer
    assert len(looked) <= 16


def test_world_with_fixed_shifts_is_refused_in_one_line() -> None:
    planner = Planner(load_scenario("australia-10"), policy_maker("marginal"))
    with pytest.raises(ConfigError, match="shifts have 10 agents"):
        planner.measure(6, (0.03,))


def test_command_answers_in_json_and_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "markov-5"]) == 2
    assert "either" in capsys.readouterr().err
    asked = ["plan", "markov-5", "--conversations-per-h", "60"]
    assert main([*asked, "--agents", "5", "--rate", "0.02"]) == 2
    assert "not both" in capsys.readouterr().err
    file = tmp_path / "plan.json"
    few = ["--tune-days", "2", "--test-days", "2", "--output", str(file), "--json"]
    assert main(["plan", "markov-5", "--conversations-per-day", "480", *few]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(file.read_text())
    assert found["wanted_conversations_per_h"] == 60.0
    tried = {row["n_agents"]: row["conversations_per_h"]["value"] for row in found["tried"]}
    assert tried[found["n_agents"]] >= 60.0 > tried[found["n_agents"] - 1]
    assert np.all(np.diff([tried[n] for n in sorted(tried)]) > 0)
