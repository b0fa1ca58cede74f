"""The pages of the scenarios say what the files say."""

import re

import pytest

from quietdial.envs.laws import (
    ConstantLaw,
    ExponentialLaw,
    GammaLaw,
    Law,
    LognormalLaw,
    MixtureLaw,
    MixturePart,
    QuantileLaw,
    UniformLaw,
    WeibullLaw,
)
from quietdial.envs.randomise import RANGES, ScenarioRanges
from quietdial.envs.scenario import load_scenario, preset_names
from quietdial.experiments import scenario_pages
from quietdial.experiments.cli import main
from quietdial.experiments.verbs.common import EXIT_OK, EXIT_USAGE

TEXTS = scenario_pages.texts()


def test_written_pages__are_what_the_scenarios_say(repository) -> None:
    folder = repository / "docs" / "scenarios"
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    again = f"run: {scenario_pages.COMMAND}"
    assert sorted(written) == sorted(TEXTS), again
    for name, text in TEXTS.items():
        assert written[name] == text, f"{name} is out of date; {again}"


def test_texts__are_the_same_each_time() -> None:
    assert scenario_pages.texts() == TEXTS


@pytest.mark.parametrize("name", preset_names())
def test_page__holds_description_numbers_assumptions_credits_and_use(name: str) -> None:
    scenario, text = load_scenario(name), TEXTS[f"{name}.md"]
    assert text.startswith(f"# {name}\n")
    assert scenario.description in text
    assert f"| Agents | {scenario.floor.n_agents} |" in text
    assert f"]({name}.png)" in text
    assert f'scenario="{name}"' in text
    assert f"quietdial simulate {name}" in text
    assert scenario.rule.id in text
    for part in scenario.calls.unanswered:
        assert f"| Not answered: {part.outcome.replace('_', ' ')} |" in text
    for field, reason in scenario.assumptions.items():
        assert f"| `{field}` | {reason} |" in text
    for credit in scenario.credits:
        assert credit in text
    if scenario.people:
        assert f"| List | {scenario.people.n_people:,} people |" in text
        assert text.count("\n| Segment ") == len(scenario.people.segments)
    assert ("## Incoming calls" in text) == (scenario.inbound is not None)
    assert ("late |" in text) == (scenario.belief.feed_delay_s > 0)


def test_pages__tables_have_as_many_cells_as_their_heads() -> None:
    for name, text in TEXTS.items():
        width = 0
        for line in text.splitlines():
            cells = line.count("|") if line.startswith("|") else 0
            assert cells in (0, width) or width == 0, (name, line)
            width = cells


def test_index__lists_every_scenario_once_and_links_lead_somewhere(repository) -> None:
    folder = repository / "docs" / "scenarios"
    links = re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", TEXTS["README.md"], flags=re.MULTILINE)
    assert sorted(links) == sorted(f"{name}.md" for name in preset_names())
    for text in TEXTS.values():
        for target in re.findall(r"[^!]\[[^]]+\]\(([^)#]+)\)", text):
            if not target.startswith("http"):
                assert (folder / target).exists(), target


def test_pictures__are_there_for_each_scenario_and_small(repository) -> None:
    pictures = sorted((repository / "docs" / "scenarios").glob("*.png"))
    assert sorted(path.stem for path in pictures) == sorted(preset_names())
    for path in pictures:
        assert path.stat().st_size <= 80 * 1024, path.name


def test_draw__pictures_the_first_day(tmp_path) -> None:
    scenario = load_scenario("small-campaign-4")
    short = scenario.episode.model_copy(update={"duration_s": 1800.0, "n_days": 2})
    scenario = scenario.model_copy(update={"episode": short, "name": "half-hour"})
    path = scenario_pages.draw(scenario, tmp_path)
    assert path == tmp_path / "half-hour.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    records = scenario_pages.day_records(scenario_pages.first_day(scenario))
    assert {record.agent for record in records.agents} == {0, 1, 2, 3}
    assert max(record.to_ms for record in records.agents) <= 1_900_000
    assert len(records.calls) > 10


def test_random_page__explains_every_range() -> None:
    text = TEXTS["random.md"]
    for field in ScenarioRanges.model_fields:
        assert f"| `{field}` |" in text
    for name in RANGES:
        assert f"`{name}`" in text


def test_random_page__python_runs() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXTS["random.md"], flags=re.DOTALL)
    found: dict[str, object] = {}
    exec(compile(snippet, "random.md", "exec"), found)  # our own text
    assert len(found["many"]) == 64  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("law", "text"),
    [
        (ConstantLaw(value_s=28), "28 s, always"),
        (UniformLaw(low_s=1, high_s=4), "1 to 4 s, uniform"),
        (ExponentialLaw(mean_s=1200), "mean 1,200 s, exponential"),
        (LognormalLaw(mean_s=30, cv=0.6), "mean 30 s, lognormal, cv 0.6"),
        (GammaLaw(shape=3, scale_s=3, shift_s=3), "mean 12 s, gamma, shape 3, at least 3 s"),
        (WeibullLaw(shape=1, scale_s=100), "mean 100 s, Weibull, shape 1"),
        (QuantileLaw(p=(0, 1), value_s=(10, 20)), "mean 15 s, 2 quantiles"),
        (
            MixtureLaw(
                parts=(
                    MixturePart(weight=0.25, law=ConstantLaw(value_s=2)),
                    MixturePart(weight=0.75, law=ConstantLaw(value_s=6)),
                )
            ),
            "mean 5 s, mixed (25 %: 2 s, always; 75 %: 6 s, always)",
        ),
    ],
)
def test_law_text__names_kind_mean_and_unit(law: Law, text: str) -> None:
    assert scenario_pages.law_text(law) == text
    assert scenario_pages.law_text(law, "").count(" s") == text.count(" shape")


def test_scenarios_verb__lists_and_writes(tmp_path, capsys) -> None:
    assert main(["scenarios"]) == EXIT_OK
    listed = capsys.readouterr().out
    for name in preset_names():
        assert f"{name} " in listed
    assert main(["scenarios", "--write", str(tmp_path / "pages")]) == EXIT_OK
    written = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "pages").iterdir()}
    assert written == TEXTS
    assert main(["scenarios", "--pictures", "italy-5"]) == EXIT_USAGE
    assert "--write" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["scenarios", "--write", str(tmp_path / "file")]) == EXIT_USAGE
    assert capsys.readouterr().err.count("\n") == 1
