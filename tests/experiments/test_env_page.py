"""The page on speed: its figures are those of the committed result file."""

import json
import shutil
from pathlib import Path

import pytest

from quietdial.envs import ConfigError
from quietdial.experiments.bench.env_page import markdown, refresh_page

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "experiments/results/env-speed.json"
PAGE = REPOSITORY / "docs/performance.md"


def test_page__has_the_figures_of_the_result_file(tmp_path):
    page = tmp_path / "performance.md"
    shutil.copyfile(PAGE, page)
    refresh_page(RESULTS, page)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_page__follows_the_result_file():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    before = markdown(results)
    for row in results["figures"]:
        if row["name"] == "memory/italy-50":
            row["value"] += 1234.0
    assert markdown(results) != before


def test_page__needs_every_figure():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    results["figures"] = [row for row in results["figures"] if "thread" not in row["name"]]
    with pytest.raises(ConfigError, match="no figure 'threads"):
        markdown(results)


def test_results__are_of_a_whole_run_and_in_order():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert results["name"] == "env-speed"
    for row in results["figures"]:
        assert row["lo"] <= row["value"] <= row["hi"]
        assert row["value"] >= 0
