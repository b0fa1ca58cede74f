"""Part `planted` of the proof: bugs planted in the kernel are found.

Each bug of `mutants` is put into a copy of the package `envs`, which another Python process then
imports in the place of the right one, without compilation; there `battery` plays its checks. A bug
that passes them all is a failure, and so is a right kernel that does not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import quietdial.envs
from quietdial.envs.errors import ConfigError
from quietdial.experiments.bench.results import figure
from quietdial.experiments.proof.family import sampled
from quietdial.experiments.proof.flows import require_hypothesis
from quietdial.experiments.proof.mutants import MUTANTS, Mutant
from quietdial.experiments.proof.parts import Figure, Report, failures

__all__ = ["Finding", "hunt", "mutated", "run"]

FEWEST = 3
"""Bugs of a sample."""
LIMIT_S = 240.0
"""A changed kernel that takes longer hangs."""


class Finding(NamedTuple):
    """What the battery said of one kernel.

    Attributes:
        check: name of the check that failed; None: all held.
        why: how it failed.
        seconds: how long it took.
    """

    check: str | None
    why: str
    seconds: float


def mutated(text: str, mutant: Mutant) -> str:
    """The source with the bug in it.

    Raises:
        ConfigError: the text to replace does not stand there exactly once.
    """
    n = text.count(mutant.old)
    if n != 1:
        raise ConfigError(
            f"planted bug {mutant.what!r}: its text stands {n} times in {mutant.file}, not once; "
            "bring experiments/proof/mutants.py up to date with the kernel"
        )
    return text.replace(mutant.old, mutant.new)


def hunt(mutant: Mutant | None) -> Finding:
    """Play the battery on the kernel with this bug; None: on the right kernel."""
    source = Path(quietdial.envs.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "quietdial" / "envs"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            path = copy / "pacing" / mutant.file
            path.write_text(mutated(path.read_text(encoding="utf-8"), mutant), encoding="utf-8")
        return _battery(folder, copy)


def _battery(folder: str, copy: Path) -> Finding:
    code = (
        "import quietdial.envs as e; from quietdial.experiments.proof import battery; "
        f"assert e.__file__.startswith({str(copy)!r}), e.__file__; raise SystemExit(battery.main())"
    )
    paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    began = time.perf_counter()
    try:
        done = subprocess.run(  # noqa: S603 - our own code in our own interpreter
            [sys.executable, "-W", "ignore", "-c", code],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("hangs", f"no end within {LIMIT_S:g} s", LIMIT_S)
    seconds = time.perf_counter() - began
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise ConfigError(f"the battery could not run: {done.stderr.strip()[-300:]}")
    told = json.loads(lines[-1])
    return Finding(told["found"], told["why"], seconds)


def run(scale: float, report: Report) -> list[Figure]:
    """The part of the proof; a smaller `scale` plants fewer bugs.

    Args:
        scale: share of the whole.
        report: told what is done.

    Returns:
        Bugs planted and found, the time, which checks found how many, and the bugs that were not
        found (must be 0).
    """
    require_hypothesis()
    chosen = sampled(MUTANTS, scale, FEWEST)
    began = time.perf_counter()
    right = None
    if scale >= 1.0:
        report("planted: the right kernel", 0.0)
        right = hunt(None)
    findings = []
    for number, mutant in enumerate(chosen):
        report(f"planted: {mutant.what}", number / len(chosen))
        findings.append(hunt(mutant))
    return _figures(chosen, findings, right, time.perf_counter() - began)


def _figures(
    chosen: Sequence[Mutant], findings: Sequence[Finding], right: Finding | None, seconds: float
) -> list[Figure]:
    n = len(chosen)
    missed = [m.what for m, f in zip(chosen, findings, strict=True) if f.check is None]
    by = Counter(f.check for f in findings if f.check is not None)
    note = ", ".join(f"{name}: {k}" for name, k in by.most_common())
    found = float(n - len(missed))
    rows = [
        figure("planted/bugs", n, "bugs", n, n, n, "replacements in the source of the kernel"),
        figure("planted/found", found, "bugs", found, found, n, f"first found {note}"),
        figure("planted/seconds", seconds, "s", seconds, seconds, n, "without compilation"),
        failures("planted/missed", missed, n, "planted bugs that pass every check"),
    ]
    if right is not None:
        wrong = [f"{right.check}: {right.why}"] if right.check else []
        rows.append(failures("planted/right", wrong, 1, "the kernel without a bug passes"))
    return rows
