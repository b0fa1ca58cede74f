"""Comparing runs: figures worked out by hand, who is compared with whom, and what is written."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image as mpl_image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from quietdial.envs.errors import ConfigError
from quietdial.experiments.cli import main
from quietdial.experiments.comparison.command import Compared, compare_runs
from quietdial.experiments.comparison.groups import sections_of
from quietdial.experiments.comparison.learning import curve_of
from quietdial.experiments.comparison.page import (
    Grid,
    Heading,
    Items,
    Paragraph,
    Picture,
    document,
    markdown,
)
from quietdial.experiments.comparison.reading import read_runs
from quietdial.experiments.comparison.words import answer
from quietdial.experiments.rundir import RunFolder
from quietdial.experiments.verbs.common import EXIT_OK, EXIT_USAGE

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun) -> Compared:
    """Three learners x three seeds: one good, one timid, one that breaks the cap."""
    root = tmp_path_factory.mktemp("runs")
    for seed in (2, 3, 4):
        make_run(root, "good", seed, utilisation=0.845, silent_rate=0.028)
        make_run(root, "timid", seed, utilisation=0.80, silent_rate=0.01)
        make_run(root, "loud", seed, utilisation=0.87, silent_rate=0.034)
    RunFolder.create(root, "unfinished", {"learner": {"algorithm": "good", "seed": 9}})
    out = tmp_path_factory.mktemp("comparison")
    return compare_runs([root], out, "learner.algorithm", "quietdial compare runs")


def test_compare__finds_who_keeps_the_cap_and_what_it_brings(compared: Compared) -> None:
    (section,) = compared.sections
    assert [group.name for group in section.groups] == ["good", "timid", "loud"]
    good, timid, loud = section.groups
    assert (good.keeps_cap, timid.keeps_cap, loud.keeps_cap) == (True, True, False)
    assert (good.n_keeping, loud.n_keeping) == (3, 0)
    assert section.leader is good
    # The rule has .84 + 2 (r - .026): .844 at 2.8 % and .808 at 1 %, so +.1 and -.8 points.
    assert section.best_rule == "marginal"
    assert good.over_rule.value == pytest.approx(0.001, abs=1e-9)
    assert timid.over_rule.value == pytest.approx(-0.008, abs=1e-9)
    assert good.silent_rate.value == pytest.approx(0.028)
    # Seeds 2, 3, 4 are -.1, 0, +.1 points: of three runs none is left out of the middle half.
    assert good.scores.tolist() == pytest.approx([0.0, 0.001, 0.002], abs=1e-9)
    assert good.iqm.value == pytest.approx(0.001, abs=1e-9)


def test_compare__pairs_by_day_and_seed(compared: Compared) -> None:
    (section,) = compared.sections
    pairs = {(pair.a, pair.b): pair for pair in section.pairs}
    assert set(pairs) == {("good", "timid"), ("good", "loud"), ("timid", "loud")}
    first = pairs["good", "timid"]
    # What a day and a seed do to both cancels, so the interval has no width at all.
    assert first.utilisation.value == pytest.approx(0.045)
    assert first.utilisation.half_width == pytest.approx(0.0, abs=1e-9)
    assert first.at_equal_rate.value == pytest.approx(0.009, abs=1e-9)
    assert first.silent_rate.value == pytest.approx(0.018)
    assert (first.n_seeds, first.improvement.value) == (3, 1.0)


def test_compare__says_it_in_words_first(compared: Compared) -> None:
    said = answer(compared.sections[0])
    assert said[0].startswith("**Kept the cap of 3 %**")
    assert "good (2.80 %), timid (1 %)" in said[0]
    assert "loud (3.40 %; by themselves 0 of 3 runs keep it)" in said[1]
    assert "**The busiest group that keeps it is good**: utilisation 84.51 %" in said[2]
    assert any("`marginal`, the best rule" in line and "+0.10" in line for line in said)
    assert any("timid instead of good: -4.50" in line for line in said)
    assert any("loud (which does not surely keep the cap) instead of good" in x for x in said)
    text = (compared.folder / "comparison.md").read_text(encoding="utf-8")
    assert text.startswith("# Which run keeps the cap, and what does it cost?")
    assert text.index("Kept the cap") < text.index("| group |")
    assert "`unfinished`: running and not judged" in text
    assert not re.search(r"\bnan\b", text)


class _Outside(HTMLParser):
    """Collects whatever a page would load from elsewhere, and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.images += tag == "img"
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data") and not (value or "").startswith("data:"):
                self.loads.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_compare__html_stands_alone(compared: Compared) -> None:
    page = (compared.folder / "comparison.html").read_text(encoding="utf-8")
    parser = _Outside()
    parser.feed(page)
    assert (parser.loads, parser.open, parser.images) == ([], [], 4)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    for needed in ("viewport", "prefers-color-scheme: dark", "@media print"):
        assert needed in page
    for key in ("curves", "throughput", "differences", "profile"):
        pixels = mpl_image.imread(compared.folder / "figures" / f"{key}.png")
        assert pixels.shape[1] == 1350
        assert pixels.std() > 0.02


def test_page__escapes_what_is_not_its_own() -> None:
    blocks = [
        Heading("A <b> & c", 1),
        Paragraph("`<script>` **bold** </p>"),
        Items(("one",)),
        Grid(("x|y",), (("a|b",),)),
        Picture("p.png", 'say "so"'),
    ]
    page = document(blocks, {"p.png": b"\x89PNG"})
    assert "<script>" not in page
    assert "<code>&lt;script&gt;</code> <strong>bold</strong> &lt;/p&gt;" in page
    assert 'alt="say &quot;so&quot;"' in page
    text = markdown(blocks, "figures/")
    assert "| a\\|b |" in text
    assert "(figures/p.png)" in text


def test_compare__result_file_has_every_figure(compared: Compared) -> None:
    result = json.loads((compared.folder / "comparison.json").read_text(encoding="utf-8"))
    assert result["schema"] == "quietdial-result/1"
    assert result["sections"][0]["leader"] == "good"
    figures = {row["name"]: row for row in result["figures"]}
    assert len(figures) == len(result["figures"])
    assert figures["good minus timid/utilisation"]["value"] == pytest.approx(0.045)
    assert figures["timid/utilisation_over_best_rule"]["value"] == pytest.approx(-0.008)


def _events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


def test_compare__writes_aggregate_runs_with_bands_and_flat_rules(compared: Compared) -> None:
    boards = compared.folder / "tensorboard"
    assert {path.name for path in boards.iterdir()} == {
        "good-mean-of-3",
        "timid-mean-of-3",
        "loud-mean-of-3",
        "rule-marginal",
        "rule-progressive",
    }
    group = _events(boards / "good-mean-of-3")
    last = {tag: group.Scalars(tag)[-1].value for tag in group.Tags()["scalars"]}
    # Seeds 2, 3, 4 end at .845 + .002, .003, .004: mean .848, s = .001, t(2) s / sqrt(3) = .002484.
    assert last["pacing/utilisation"] == pytest.approx(0.848, abs=1e-6)
    assert last["pacing/utilisation_upper"] == pytest.approx(0.848 + 0.002484, abs=1e-5)
    assert last["pacing/utilisation_lower"] == pytest.approx(0.848 - 0.002484, abs=1e-5)
    assert last["final/utilisation_over_best_rule"] == pytest.approx(0.001, abs=1e-6)
    assert "hparams" in {
        summary.split("/")[0].strip("_") for summary in group.PluginTagToContent("hparams")
    }
    rule = _events(boards / "rule-marginal")
    flat = [(event.step, event.value) for event in rule.Scalars("pacing/utilisation")]
    assert [step for step, _ in flat] == [0, 30 * 32_768]
    assert flat[0][1] == flat[1][1]
    raw = group.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    page = layout_pb2.Layout.FromString(raw)  # pyright: ignore[reportAttributeAccessIssue]
    margins = [
        chart.margin.series[0] for c in page.category for chart in c.chart if chart.margin.series
    ]
    assert len(margins) >= 4
    for series in margins:
        assert {series.value, series.lower, series.upper} <= set(group.Tags()["scalars"])
    again = compare_runs(
        [compared.sections[0].groups[0].runs[0].path.parent],
        compared.folder,
        "learner.algorithm",
        "again",
    )
    assert len(list((again.folder / "tensorboard" / "good-mean-of-3").iterdir())) == 1


def test_compare__of_two_single_runs_speaks_of_days_only(
    tmp_path: Path, make_run: MakeRun, capsys: Any
) -> None:
    make_run(tmp_path, "good", 1, utilisation=0.845, silent_rate=0.028, name="a")
    make_run(tmp_path, "good", 1, utilisation=0.80, silent_rate=0.02, name="b")
    out = tmp_path / "out"
    page = tmp_path / "docs" / "two.md"
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["compare", *both, f"--out={out}", "--by=run", f"--page={page}"]) == EXIT_OK
    for picture in re.findall(r"\((figures/[^)]+)\)", page.read_text(encoding="utf-8")):
        assert picture.startswith("figures/two-")
        assert (page.parent / picture).is_file()
    said = capsys.readouterr().out
    assert "The busiest group that keeps it is a" in said
    assert "b instead of a" in said
    text = (out / "comparison.md").read_text(encoding="utf-8")
    assert "one run only, so the intervals are over days" in text


def test_compare__never_compares_different_worlds_caps_or_days(
    tmp_path: Path, make_run: MakeRun, capsys: Any
) -> None:
    make_run(tmp_path, "good", 1)
    make_run(tmp_path, "good", 2)
    make_run(tmp_path, "other", 1, scenario="elsewhere")
    make_run(tmp_path, "strict", 1, cap=0.02, silent_rate=0.015)
    runs, _ = read_runs([tmp_path], "learner.algorithm")
    sections = sections_of(runs)
    assert [(s.scenario, s.cap, len(s.groups)) for s in sections] == [
        ("small", 0.03, 1),
        ("elsewhere", 0.03, 1),
        ("small", 0.02, 1),
    ]
    found = compare_runs([tmp_path], tmp_path / "out", "learner.algorithm", "c")
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "3 different worlds or caps" in text
    assert (tmp_path / "out" / "figures" / "2-elsewhere-curves.png").exists()
    assert len({row["name"] for row in found.result["figures"]}) == len(found.result["figures"])
    late = make_run(tmp_path, "good", 3)
    rows = (late / "days.csv").read_text(encoding="utf-8").replace(",30000000", ",40000000")
    (late / "days.csv").write_text(rows, encoding="utf-8")
    assert main(["compare", str(tmp_path), f"--out={tmp_path / 'out'}"]) == EXIT_USAGE
    error = capsys.readouterr().err
    assert "good-3 was judged on other test days than good-1 (0 in common" in error
    assert error.count("\n") == 1


def test_compare__takes_the_days_that_all_runs_share(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path, "good", 1, n_days=16)
    make_run(tmp_path, "good", 2, n_days=10)
    runs, _ = read_runs([tmp_path], "learner.algorithm")
    (section,) = sections_of(runs)
    assert len(section.seeds) == 10
    assert any("the 10 test days that all runs share; good-2 was" in note for note in section.notes)


def test_compare__warns_of_groups_that_mix_settings(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path, "good", 1, settings={"net": [64]})
    make_run(tmp_path, "good", 2, settings={"net": [32]})
    runs, _ = read_runs([tmp_path], "learner.algorithm")
    (section,) = sections_of(runs)
    assert "The runs of good differ in more than their seed: learner.net." in section.notes
    runs, _ = read_runs([tmp_path], "learner.net")
    assert {run.group for run in runs} == {"[64]", "[32]"}


def test_compare__says_in_one_line_what_is_wrong(
    tmp_path: Path, make_run: MakeRun, capsys: Any
) -> None:
    broken = make_run(tmp_path, "good", 1)
    for file, content, reason in (
        ("days.csv", "policy,seed\n", "days.csv: damaged, no day in it"),
        ("days.csv", "policy,seed,dialed\ngood,1\n", "days.csv, line 2: damaged"),
        ("evaluation.json", "{", "evaluation.json: damaged, not JSON"),
    ):
        whole = (broken / file).read_text(encoding="utf-8")
        (broken / file).write_text(content, encoding="utf-8")
        assert main(["compare", str(tmp_path), f"--out={tmp_path / 'out'}"]) == EXIT_USAGE
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1
        (broken / file).write_text(whole, encoding="utf-8")
    assert main(["compare", str(tmp_path), "--by=learner.nothing"]) == EXIT_USAGE
    assert "has no 'learner.nothing'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no run in there"):
        read_runs([_empty(tmp_path)], "run")


def _empty(root: Path) -> Path:
    folder = root / "nothing"
    folder.mkdir()
    return folder


def test_curve__averages_seeds_that_logged_at_different_steps(
    tmp_path: Path, make_run: MakeRun
) -> None:
    make_run(tmp_path, "good", 1, n_rows=30)
    make_run(tmp_path, "good", 3, n_rows=30)
    runs, _ = read_runs([tmp_path], "learner.algorithm")
    thinned = runs[1].curves["pacing/utilisation"][::3]
    runs[1].curves["pacing/utilisation"] = thinned  # type: ignore[index]
    curve = curve_of(runs, "pacing/utilisation")
    assert curve is not None
    assert (len(curve.steps), curve.n_seeds) == (10, 2)
    assert curve.steps[-1] == 30 * 32_768
    assert np.all(np.diff(curve.mean) > 0)
    assert curve_of(runs, "train/approx_kl") is None


def test_compare__takes_seconds_for_200_runs(tmp_path: Path, make_run: MakeRun) -> None:
    for learner in range(5):
        name = f"learner-{learner}"
        made = [
            make_run(tmp_path, name, seed, utilisation=0.82 + 0.004 * learner, n_days=64, n_rows=60)
            for seed in (0, 1)
        ]
        manifest = (made[0] / "manifest.json").read_text(encoding="utf-8")
        for seed in range(2, 40):
            copy = shutil.copytree(made[seed % 2], tmp_path / f"{name}-{seed}")
            of_seed = manifest.replace('"seed": 0', f'"seed": {seed}')
            (copy / "manifest.json").write_text(of_seed, encoding="utf-8")
    started = time.process_time()
    found = compare_runs([tmp_path], tmp_path / "out", "learner.algorithm", "c")
    assert time.process_time() - started < 20.0
    assert sum(len(group.runs) for group in found.sections[0].groups) == 200
    assert {run.seed for run in found.sections[0].groups[0].runs} == set(range(40))
