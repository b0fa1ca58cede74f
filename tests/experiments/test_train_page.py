"""The figures of training on the page on speed are those of the committed result file."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from quietdial.envs import ConfigError
from quietdial.experiments.bench.results import BEGIN, END, result_file
from quietdial.experiments.bench.train_page import markdown, refresh_page
from quietdial.experiments.bench.train_speed import (
    COMMAND,
    DEFAULT,
    WAYS,
    Effort,
    Spent,
    TrainSpeed,
    figures_of,
)

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "experiments/results/train-speed.json"
PAGE = REPOSITORY / "docs/performance.md"


def _results(preset_s: float = 1.0) -> dict[str, Any]:
    """Figures in which the preset takes `preset_s` for what the defaults take 25 s for."""
    spent = {way: [Spent(1000, 5.0, 6.0)] * 2 for way in WAYS}
    spent[DEFAULT] = [Spent(1000, 25.0, 30.0)] * 2
    spent["preset"] = [Spent(1000, preset_s, 2.0, env_s=0.05, adapter_s=0.06)] * 2
    figures = figures_of(TrainSpeed(spent))
    for when in ("before", "after"):
        figures.append(dict(figures[0], name=f"machine/load-{when}"))
    return result_file("train-speed", COMMAND, "1", figures)


def test_page__has_the_figures_of_the_result_file_if_there_is_one(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    shutil.copyfile(PAGE, page)
    if RESULTS.is_file():
        refresh_page(RESULTS, page)
        assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    else:
        mark = BEGIN.replace("figures", "figures of training")
        assert f"{mark}No run has been recorded yet.\n" in page.read_text(encoding="utf-8")


def test_results__are_of_a_whole_run_and_in_order() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else _results()
    passes = Effort().passes if RESULTS.is_file() else 2
    assert (results["name"], results["command"]) == ("train-speed", "quietdial bench train")
    for row in results["figures"]:
        assert 0 <= row["lo"] <= row["value"] <= row["hi"]
        assert row["n"] == passes or row["name"].startswith("machine/")


def test_refresh__leaves_the_other_figures_of_the_page(tmp_path: Path) -> None:
    results, page = tmp_path / "train-speed.json", tmp_path / "page.md"
    results.write_text(json.dumps(_results()))
    begin, end = (mark.replace("figures", "figures of training") for mark in (BEGIN, END))
    page.write_text(f"{BEGIN}old\n{END}and\n{begin}stale\n{end}end\n")
    refresh_page(results, page)
    text = page.read_text()
    assert text.startswith(f"{BEGIN}old\n{END}and\n{begin}")
    assert text.endswith(f"{end}end\n")
    assert "stale" not in text
    page.write_text(f"{BEGIN}old\n{END}")
    with pytest.raises(ConfigError, match="figures of training: begin"):
        refresh_page(results, page)


@pytest.mark.parametrize(("preset_s", "said"), [(1.0, "reached"), (2.0, "missed")])
def test_page__says_which_aims_are_reached(preset_s: float, said: str) -> None:
    aim = "| `preset`, at least 20 times the defaults "
    (line,) = (it for it in markdown(_results(preset_s)).splitlines() if it.startswith(aim))
    times = f"{25 / preset_s:.1f}"
    assert line == f"{aim}| {times} ({times} to {times}) | {said} |"


def test_page__needs_every_figure() -> None:
    results = _results()
    results["figures"] = [row for row in results["figures"] if "share" not in row["name"]]
    with pytest.raises(ConfigError, match="no figure 'preset/environment-and-adapter-share'"):
        markdown(results)
