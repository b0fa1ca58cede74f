"""Result files: one shape for every published set of figures, with where they were made."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quietdial.experiments.rundir import git_state, package_versions

SCHEMA = 1

__all__ = ["SCHEMA", "figure", "machine", "result_file"]


def result_file(
    name: str, command: str, seeds: str, figures: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The content of a result file: plain values, ready for JSON.

    Args:
        name: name of the file, without its ending.
        command: command that makes the file.
        seeds: which seeds stand behind the figures.
        figures: rows made by `figure`.
    """
    return {
        "schema": SCHEMA,
        "name": name,
        "command": command,
        "commit": git_state(Path(__file__).resolve().parents[2]),
        "machine": machine(),
        "seeds": seeds,
        "figures": [*figures],
    }


def figure(
    name: str, value: float, unit: str, lo: float, hi: float, n: int, note: str
) -> dict[str, Any]:
    """One published number: `value` in `unit` with its interval `lo` to `hi` from `n` samples."""
    return {"name": name, "value": value, "unit": unit, "lo": lo, "hi": hi, "n": n, "note": note}


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the name that Python knows must do
    return {
        "cpu": model,
        "cpu_count": os.cpu_count() or 1,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "threads": 1,
    }
