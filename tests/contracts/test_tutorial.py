"""docs/tutorial.md does what it says: its commands run as printed, and its pictures are theirs.

    QUIETDIAL_SCREENSHOTS=docs/figures python -m pytest tests/contracts/test_tutorial.py

takes the pictures anew.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver

from quietdial.experiments.cli import main

pytestmark = pytest.mark.slow

LARGEST_BYTES = 150_000


def _page(repository: Path) -> str:
    return (repository / "docs" / "tutorial.md").read_text(encoding="utf-8")


def _commands(page: str) -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ quietdial ") for line in lines)
    return [shlex.split(line)[2:] for line in lines]


@pytest.fixture(scope="module")
def played(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """The folder in which all commands ran, and what each verb printed last."""
    page = _page(repository)
    folder = tmp_path_factory.mktemp("tutorial")
    (config,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (name,) = re.findall(r"Write this into `([^`]+)`", page)
    (folder / name).write_text(config, encoding="utf-8")
    printed: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in _commands(page):
            if command[0] == "tensorboard":  # started by the fixture of the browser tests
                assert (folder / command[1]).is_dir()
                continue
            output = io.StringIO()
            patch.setattr("sys.stdout", output)
            assert main(command) == 0, command
            printed[command[0]] = output.getvalue()
    return folder, printed


def test_tutorial__commands_do_what_the_page_says(
    played: tuple[Path, dict[str, str]], repository: Path
) -> None:
    folder, printed = played
    assert {command[0] for command in _commands(_page(repository))} == {
        "train",
        "runs",
        "compare",
        "tensorboard",
    }
    assert "cheap" in printed["runs"]
    assert "NOT kept" in printed["runs"]
    result = json.loads((folder / "comparison" / "comparison.json").read_text(encoding="utf-8"))
    (section,) = result["sections"]
    groups = {name: group["keeps_cap"] for name, group in section["groups"].items()}
    assert groups == {"400.0": True, "40.0": False}
    figures = {row["name"]: row["value"] for row in result["figures"]}
    assert figures["40.0/utilisation"] > figures["400.0/utilisation"]
    assert "Not surely kept by: 40.0" in printed["compare"]
    text = (folder / "comparison" / "comparison.md").read_text(encoding="utf-8")
    assert "say nothing of other training seeds" in text


def test_tutorial__links_and_pictures_exist_and_are_small(repository: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", _page(repository)):
        file = repository / "docs" / target
        assert file.is_file(), target
        if file.suffix == ".png":
            assert file.stat().st_size <= LARGEST_BYTES, target


def test_tutorial__pictures_are_taken(
    played: tuple[Path, dict[str, str]],
    browser: webdriver.Chrome,
    serve_tensorboard: Callable[[Path], AbstractContextManager[str]],
    screenshots: Path,
    tmp_path: Path,
) -> None:
    folder, printed = played
    for verb in ("runs", "compare"):
        terminal = tmp_path / f"{verb}.html"
        command = {"runs": "quietdial runs"}.get(
            verb, "quietdial compare runs --by learner.initial_multiplier"
        )
        shown = printed[verb].strip("\n")
        text = f"$ {command}\n{shown}"
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        terminal.write_text(
            '<meta charset="utf-8"><body style="margin:0;background:#1e1e1e">'
            '<pre style="margin:0;padding:14px 18px;color:#e6e6e6;font:15px/1.35 monospace">'
            f"{escaped}</pre>",
            encoding="utf-8",
        )
        browser.get(terminal.as_uri())
        _shoot(browser, screenshots / f"tutorial-{verb}.png", height=None)
    browser.get((folder / "comparison" / "comparison.html").as_uri())
    assert "Which run keeps the cap" in browser.title
    _shoot(browser, screenshots / "tutorial-report.png", height=1500)
    with serve_tensorboard(folder / "comparison" / "tensorboard") as address:
        browser.get(f"{address}/#custom_scalars")
        deadline = time.monotonic() + 60.0
        while "mean over seeds" not in browser.find_element("tag name", "body").text:
            assert time.monotonic() < deadline, "TensorBoard showed no chart"
            time.sleep(0.5)
        time.sleep(2.0)
        # below this height stands the path of this machine's folder
        _shoot(browser, screenshots / "tutorial-tensorboard.png", height=900, cut=690)
    for name in ("runs", "compare", "report", "tensorboard"):
        with Image.open(screenshots / f"tutorial-{name}.png") as taken:
            assert taken.width >= 900
            assert len(taken.getcolors(1_000_000) or []) > 8  # not an empty page


def _shoot(
    browser: webdriver.Chrome, file: Path, *, height: int | None, cut: int | None = None
) -> None:
    """A screenshot 1100 pixels wide, as high as the page if no height is given, in few colours."""
    browser.set_window_size(1100, height or 800)
    if height is None:
        cut = int(browser.find_element("tag name", "pre").size["height"])
        browser.set_window_size(1100, cut + 160)
    browser.save_screenshot(str(file))
    with Image.open(file) as taken:
        shot = taken.convert("RGB")
    if cut is not None:
        shot = shot.crop((0, 0, shot.width, min(cut, shot.height)))
    for colours in (64, 32, 16):
        shot.quantize(colours).save(file, optimize=True)
        if file.stat().st_size <= LARGEST_BYTES:
            return
