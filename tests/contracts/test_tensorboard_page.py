"""TensorBoard's page as a person sees it: a real server, a real Chromium, every tab that we fill.

Set QUIETDIAL_SCREENSHOTS to a folder to keep the screenshots.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver

from quietdial.experiments.comparison.command import compare_runs
from quietdial.experiments.plots import (
    ActionMap,
    DayTrace,
    FrontierPoint,
    action_map_figure,
    day_figure,
    frontier_figure,
)
from quietdial.experiments.stats import Interval, PolicySummary
from quietdial.experiments.tensorboard import FINAL, RunWriter, Tag, final_scalars

RUN = "first-light"
AGGREGATES = ["comparison/steady-mean-of-2", "comparison/timid-mean-of-2"]
RULE = "comparison/rule-marginal"
POLICIES = {
    "progressive": (0.752, 0.0),
    "fixed-ratio": (0.903, 0.0299),
    "marginal": (0.9466, 0.0298),
    "ppo-lagrangian": (0.9471, 0.0291),
}
CONFIG = {
    "algorithm": "ppo-lagrangian",
    "learning_rate": 0.0003,
    "seed": 1,
    "scenario": "italy-50",
    "cap": 0.03,
}
DEADLINE_S = 60.0
STEPS = range(10_000, 410_000, 10_000)

DEEP_TEXT = """
const parts = [];
const walk = (node) => {
  if (node.nodeType === Node.TEXT_NODE) { parts.push(node.textContent); return; }
  if (node.nodeName === 'STYLE' || node.nodeName === 'SCRIPT') return;
  if (node.nodeType === Node.ELEMENT_NODE) {
    for (const name of ['title', 'aria-label']) {
      if (node.hasAttribute(name)) parts.push(node.getAttribute(name));
    }
  }
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
return parts.join(' ').replace(/\\s+/g, ' ');
"""
"""Text of the page, through the shadow roots of web components."""

COUNT = """
let n = 0;
const walk = (root) => {
  n += root.querySelectorAll(arguments[0]).length;
  root.querySelectorAll('*').forEach((e) => { if (e.shadowRoot) walk(e.shadowRoot); });
};
walk(document);
return n;
"""
"""Number of elements that match a selector, through the shadow roots."""


def _interval(value: float, half: float) -> Interval:
    return Interval(value, max(0.0, value - half), value + half, 64)


def _summary(name: str) -> PolicySummary:
    utilisation, silent = POLICIES[name]
    return PolicySummary(
        name=name,
        knob_name=None,
        knob=None,
        cap=0.03,
        utilisation=_interval(utilisation, 0.002),
        conversations_per_agent_h=_interval(11.8 * utilisation, 0.1),
        silent_rate=_interval(silent, 0.0007),
        p_day_breaks_cap=_interval(0.3, 0.1),
        worst_day_rate=_interval(1.4 * silent, 0.0),
        worst_day_seed=3_000_000_000,
        dials_per_conversation=None,
    )


def _write_run(folder: Path) -> None:
    """A run as training leaves it: curves, four judged policies, pictures, text."""
    rng = np.random.default_rng(1)
    summaries = [_summary(name) for name in POLICIES]
    with RunWriter(folder) as writer:
        writer.layout(list(POLICIES))
        writer.hparams(CONFIG, FINAL)
        writer.config(CONFIG)
        for step in STEPS:
            silent = 0.03 + 0.02 * np.exp(-step / 8e4) + rng.normal(0, 0.0008)
            writer.scalars(
                {
                    Tag.SILENT_RATE: silent,
                    Tag.SILENT_RATE_LOWER: silent - 0.002,
                    Tag.SILENT_RATE_UPPER: silent + 0.002,
                    Tag.CAP: 0.03,
                    Tag.MULTIPLIER: 120 * (1 - np.exp(-step / 1e5)),
                    Tag.UTILISATION: 0.947 - 0.03 * np.exp(-step / 1e5),
                    Tag.CONVERSATIONS: 11.2 - 0.4 * np.exp(-step / 1e5),
                    Tag.EP_REWARD: -500 * np.exp(-step / 1e5) - 700,
                    Tag.FPS: 120_000 + rng.normal(0, 2_000),
                },
                step,
            )
            if step % 100_000 == 0:
                writer.evaluation(summaries, step)
        writer.scalars(final_scalars(summaries[-1], 0.0005), STEPS[-1])
        points = [FrontierPoint.of(summary) for summary in summaries]
        writer.figure(Tag.FIGURE_FRONTIER, frontier_figure(points, cap=0.03), STEPS[-1])
        seconds = np.arange(7200.0)
        wave = np.asarray(np.round(2 + 2 * np.sin(seconds / 900)), dtype=np.float64)
        rest = 0 * seconds + 6
        day = DayTrace(
            seconds, 44 - rest - wave, rest, rest, wave, 12 + wave, seconds[::500], 32_400.0
        )
        writer.figure(Tag.FIGURE_DAY, day_figure(day), STEPS[-1])
        idle, flight = rng.poisson(2.0, 5000), rng.poisson(12.0, 5000)
        actions = ActionMap.of(idle, flight, np.maximum(0, 3 * idle - 0.3 * flight))
        writer.figure(Tag.FIGURE_ACTION_MAP, action_map_figure(actions), STEPS[-1])
        writer.text(Tag.TEXT_VERDICT, "**The cap is kept**: 2.91 % (2.84 to 2.98) of 3 %.")


def _write_comparison(root: Path, make_run: Callable[..., Path]) -> None:
    """Two learners of two seeds each, compared: the aggregate runs beside the single one."""
    for seed in (1, 2):
        made = root / "compared"
        make_run(made, "steady", seed, utilisation=0.844 + 0.004 * seed)
        make_run(made, "timid", seed, utilisation=0.80, silent_rate=0.01)
    found = compare_runs([root / "compared"], root / "report", "learner.algorithm", "compare")
    shutil.move(found.folder / "tensorboard", root / "runs" / "comparison")


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory,
    make_run: Callable[..., Path],
    serve_tensorboard: Callable[[Path], AbstractContextManager[str]],
) -> Iterator[str]:
    """A running TensorBoard over a run and a comparison, on a port that it chose itself."""
    logs = tmp_path_factory.mktemp("tensorboard")
    _write_run(logs / "runs" / RUN)
    _write_comparison(logs, make_run)
    with serve_tensorboard(logs / "runs") as found:
        yield found


def _wait_until(ready: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"TensorBoard did not show it within {DEADLINE_S:g} s: {what()}")
        time.sleep(0.25)


@pytest.mark.parametrize(
    ("tab", "expected", "selector", "at_least"),
    [
        (
            "timeseries",
            [RUN, *AGGREGATES, RULE, "safety/silent_rate", "safety/cap", "safety/multiplier"],
            "line-chart",
            5,
        ),
        (
            "scalars",
            [RUN, *AGGREGATES, RULE, "safety", "pacing", "eval", "final", "rollout", "time"],
            "body",
            1,
        ),
        (
            "custom_scalars",
            [
                RUN,
                "Is the cap kept?",
                "silent rate in training, 95 % band",
                "multiplier",
                "What does it bring?",
                "How does it learn?",
                "The judge: policies on the same days",
                *AGGREGATES,
                RULE,
                "utilisation, mean over seeds with 95 % band",
                "judged silent rate with 95 % interval",
            ],
            "tf-custom-scalar-margin-chart-card",
            6,
        ),
        ("images", [RUN, "figures/frontier", "figures/day", "figures/action_map"], "img", 3),
        ("text", [RUN, "run/config", "learning_rate", "The cap is kept"], "table", 1),
        (
            "hparams",
            [
                *(RUN, "algorithm", "scenario", "italy-50", "small"),
                *("final/utilisation", "final/utilisation_over_best_rule"),
                *("ppo-lagrangian", "steady", "timid", "rule marginal"),
            ],
            "body",
            1,
        ),
    ],
)
def test_tensorboard_page__shows_the_run(
    tab: str,
    expected: list[str],
    selector: str,
    at_least: int,
    address: str,
    browser: webdriver.Chrome,
    screenshots: Path,
) -> None:
    browser.get("about:blank")
    only = "?tagFilter=safety" if tab == "timeseries" else ""
    browser.get(f"{address}/{only}#{tab}")

    def missing() -> list[str]:
        text = browser.execute_script(DEEP_TEXT)
        gaps = [part for part in expected if part not in text]
        if browser.execute_script(COUNT, selector) < at_least:
            gaps.append(f"<{selector}> x {at_least}")
        return gaps

    try:
        _wait_until(lambda: not missing(), lambda: f"{missing()}")
        time.sleep(1.0)  # charts draw themselves in after their text is there
    finally:
        browser.save_screenshot(str(screenshots / f"tensorboard-{tab}.png"))
    text = browser.execute_script(DEEP_TEXT)
    for trouble in ("No dashboards are active", "No scalar data was found", "Error:"):
        assert trouble not in text
    severe = [
        entry["message"]
        for entry in browser.get_log("browser")  # type: ignore[no-untyped-call]
        if entry["level"] == "SEVERE" and entry["message"].startswith(address)
    ]
    assert severe == []


CLICK = """
const wanted = arguments[0].toLowerCase();
let hit = null;
const walk = (root) => root.querySelectorAll('*').forEach((e) => {
  if (e.children.length === 0 && e.textContent.trim().toLowerCase() === wanted) hit = e;
  if (e.shadowRoot) walk(e.shadowRoot);
});
walk(document);
if (hit) hit.click();
return hit !== null;
"""
"""Click the element whose whole text this is, through the shadow roots."""


def test_tensorboard_page__compares_runs_in_parallel_coordinates(
    address: str, browser: webdriver.Chrome, screenshots: Path
) -> None:
    view = "parallel coordinates view"
    needed = ".foreground path"

    def lines() -> int:
        return int(browser.execute_script(COUNT, needed))

    def drawn() -> bool:
        """Load the page once; on a busy machine it may draw what it has and stop there."""
        browser.get("about:blank")
        browser.get(f"{address}/#hparams")
        _wait_until(lambda: browser.execute_script(CLICK, view), lambda: view)
        patience = time.monotonic() + DEADLINE_S / 4
        while lines() < 5 and time.monotonic() < patience:
            time.sleep(0.25)
        return lines() >= 5

    try:  # one line for each of the run, two groups and two rules, in front and behind
        _wait_until(drawn, lambda: f"{lines()} of {needed}")
        time.sleep(0.5)
    finally:
        browser.save_screenshot(str(screenshots / "tensorboard-parallel-coordinates.png"))
