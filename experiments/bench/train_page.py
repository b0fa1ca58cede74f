"""The figures of training in docs/performance.md, made from the result file `train-speed`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quietdial.envs.errors import ConfigError
from quietdial.experiments.bench.env_page import origin, table
from quietdial.experiments.bench.results import put_figures
from quietdial.experiments.bench.train_speed import DEFAULT, MOST_SHARE, RATIOS, WAYS, verdict


def refresh_page(results_file: Path, page: Path) -> None:
    """Put the figures of a result file between the marks of training on a page."""
    text = markdown(json.loads(results_file.read_text(encoding="utf-8")))
    put_figures(page, text, of="training")


def markdown(results: Mapping[str, Any]) -> str:
    """All tables. Raises `ConfigError` if a figure is missing."""
    found = {row["name"]: row for row in results["figures"]}

    def shown(name: str, digits: int, scale: float = 1.0) -> str:
        row = found[name]
        value, low, high = (f"{scale * row[key]:,.{digits}f}" for key in ("value", "lo", "hi"))
        return f"{value} ({low} to {high})"

    try:
        ways = [
            (
                f"`{way}`: {what}",
                shown(f"{way}/fps-cpu", 2, 1e-3),
                shown(f"{way}/times-{DEFAULT}-cpu", 1) if way != DEFAULT else "1",
                shown(f"{way}/times-{DEFAULT}-wall", 1) if way != DEFAULT else "1",
            )
            for way, what in WAYS.items()
        ]
        others = [
            (
                f"`{way}` / `{other}`",
                shown(f"{way}/times-{other}-cpu", 2),
                shown(f"{way}/times-{other}-wall", 2),
            )
            for way, other, _ in RATIOS
            if other != DEFAULT
        ]
        aims = [
            (
                f"`{way}`, at least {least:g} times the defaults",
                shown(f"{way}/times-{other}-cpu", 1),
                verdict(found[f"{way}/times-{other}-cpu"]),
            )
            for way, other, least in RATIOS
            if least is not None
        ]
        whole = "preset/environment-and-adapter-share"
        aim = f"environment and adapter, at most {100 * MOST_SHARE:.0f} % of the preset's time"
        aims.append((aim, f"{shown(whole, 1, 100.0)} %", verdict(found[whole])))
        alone = shown("preset/environment-share", 1, 100.0)
        passes = found["preset/fps-cpu"]["n"]
        made = origin(results)
    except KeyError as missing:
        raise ConfigError(
            f"the result file has no figure {missing}; make it with quietdial bench train"
        ) from missing
    return "\n\n".join(
        (
            f"{made} Geometric means of {passes} passes with 95 % intervals.",
            table(("Way to train", "k frames per CPU-s", "times defaults, CPU", "wall"), ways),
            table(("Compared", "CPU time", "wall time"), others),
            table(("Aim, CPU time, at the worse end of the interval", "measured", ""), aims),
            f"The environment without its adapter takes {alone} % of the preset's CPU time.",
        )
    )
