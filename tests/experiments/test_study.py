"""The study's figures: the comparison's arithmetic, its table and its result file."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from quietdial.envs import ConfigError, load_scenario
from quietdial.experiments.bench.study import (
    STUDY,
    Comparison,
    Theirs,
    markdown,
    refresh_page,
    render,
    run,
)
from quietdial.experiments.stats import Interval

RESULTS = "experiments/results/study-figures.json"
PAGE = "docs/study-figures.md"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Any]:
    path = tmp_path_factory.mktemp("study") / "study-figures.json"
    out = io.StringIO()
    found = run(output=path, console=Console(file=out, width=160), quick=True)
    return found, out.getvalue(), json.loads(path.read_text(encoding="utf-8"))


def _figure(found: dict[str, Any], name: str) -> dict[str, Any]:
    (row,) = [row for row in found["figures"] if row["name"] == name]
    return row


def test_study__file_has_the_schema_of_results(quick):
    found, _, written = quick
    assert written == found
    assert set(found) == {"schema", "name", "command", "commit", "machine", "seeds", "figures"}
    assert found["command"].startswith("quietdial bench study")
    names = [row["name"] for row in found["figures"]]
    assert len(set(names)) == len(names)
    for row in found["figures"]:
        assert set(row) == {"name", "value", "unit", "lo", "hi", "n", "note"}
        assert row["lo"] <= row["value"] <= row["hi"]
        assert row["n"] == 8


def test_study__every_compared_figure_says_z_and_verdict(quick):
    found, printed, _ = quick
    compared = [row for row in found["figures"] if row["note"].startswith("study ")]
    assert len(compared) >= 18
    for row in compared:
        z = float(row["note"].split("; ")[1].removeprefix("z "))
        verdict = row["note"].split("; ")[2]
        assert verdict in {"inside", "outside"}
        if abs(abs(z) - 1.96) > 0.05:
            assert (verdict == "inside") == (abs(z) <= 1.96)
    assert f"of {len(compared)} figures inside" in printed
    assert "study-real-10" in printed


def test_study__progressive_is_within_its_bound(quick):
    found, _, _ = quick
    row = _figure(found, "study-stat-10/progressive/utilisation")
    assert "inside" in row["note"].split("; ")


def test_study__order_of_the_rules(quick):
    found, _, _ = quick
    for world in ("study-stat-10", "study-real-10"):
        for other in ("fixed-ratio", "progressive"):
            name = f"{world}/marginal minus {other}/utilisation at 3 %"
            assert _figure(found, name)["lo"] > 0


def test_comparison__z_uses_both_standard_errors():
    ours = Interval(0.66, 0.62, 0.70, 10)
    row = Comparison("w", "f", ours, 0.03, Theirs(0.61, 0.04), "why")
    assert row.z == pytest.approx(1.0)
    assert row.inside is True
    assert row.note == "study 0.61 (se 0.04); z +1.0; inside; why"
    assert Comparison("w", "f", ours, 0.003, Theirs(0.61, 0.004)).inside is False
    alone = Comparison("w", "f", ours, 0.03, None, "only ours")
    assert alone.z is None
    assert alone.inside is None
    assert alone.note == "only ours"
    assert render([row, alone]).row_count == 2


def test_study__worlds_are_presets():
    for world in STUDY:
        assert load_scenario(world.scenario).name == world.scenario


def test_page__is_made_from_the_results(repository, tmp_path):
    page = tmp_path / "page.md"
    text = (repository / PAGE).read_text(encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    refresh_page(repository / RESULTS, page)
    assert page.read_text(encoding="utf-8") == text, (
        f"run: python -c 'from pathlib import Path as P; from quietdial.experiments.bench.study "
        f'import refresh_page as r; r(P("{RESULTS}"), P("{PAGE}"))\''
    )


def test_page__without_marks_is_refused(repository, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ConfigError, match="no place for the figures"):
        refresh_page(repository / RESULTS, page)


def test_markdown__has_a_line_for_every_figure(repository):
    written = json.loads((repository / RESULTS).read_text(encoding="utf-8"))
    assert len(markdown(written).splitlines()) == len(written["figures"]) + 2
