"""One trial of a sweep: a whole training run in a folder of its own, and what it came to.

:func:`run_trial` may be called again on the same folder after anything: what is finished is read,
what was interrupted is trained to its end. The weights do not depend on how often that happened.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from quietdial.envs.errors import QuietDialError
from quietdial.experiments.config import RunConfig, parse_run_config
from quietdial.experiments.executors import Plain
from quietdial.experiments.rundir import make_folder
from quietdial.experiments.train import resume_training, run_training

_FIGURES = ("utilisation", "silent_rate", "conversations_per_agent_h", "p_day_breaks_cap")


def score(utilisation: float, silent_rate: float, cap: float) -> float:
    """What trials are ranked by; higher is better, and any trial within the cap beats any above.

    Formula: the utilisation if the silent rate is within the cap, else cap - silent rate over cap:
    minus the share by which the cap is exceeded.

    Args:
        utilisation: fraction of available agent time.
        silent_rate: silent / answered. At the end of a trial the upper 95 % limit on selection
            days; during training the smoothed rate of the explored actions.
        cap: the allowed rate.
    """
    if math.isnan(silent_rate):
        return -1.0  # nothing answered: nothing known
    return utilisation if silent_rate <= cap else 1.0 - silent_rate / cap


def run_trial(
    spec: Mapping[str, Any],
    _: Plain | None = None,
    *,
    on_rollout: Callable[[Any], None] | None = None,
) -> Plain:
    """Train, judge and export one trial in this process; what a worker calls.

    Args:
        spec: `config`, plain values of a `RunConfig` with a name, and `command`.
        on_rollout: told every report of the training (`RolloutReport`).

    Returns:
        What :func:`result_of` reads.

    Raises:
        QuietDialError: the training was stopped before its end.
    """
    config = parse_run_config(dict(spec["config"]), "trial")
    folder = Path(config.runs) / str(config.name)
    with _alone_with(folder):
        found = result_of(folder)
        if found is None:
            _train(config, folder, spec["command"], on_rollout)
            found = result_of(folder)
    if found is None:
        raise QuietDialError(f"{folder.name}: stopped before its end; the same command goes on")
    return found


def _train(
    config: RunConfig, folder: Path, command: str, on_rollout: Callable[[Any], None] | None
) -> None:
    """Train from the start, or go on with what was interrupted."""
    quiet = Console(quiet=True)
    if (folder / "manifest.json").exists():
        resume_training(folder, quiet, command, on_rollout=on_rollout)
        return
    shutil.rmtree(folder, ignore_errors=True)  # killed while it was made
    run_training(config, quiet, command, on_rollout=on_rollout)


@contextmanager
def _alone_with(folder: Path) -> Iterator[None]:
    """Wait until no other process works in this run folder; the system ends the wait if it dies.

    A node that a cluster lost sight of may still be training when its trial starts elsewhere.
    """
    make_folder(folder.parent)
    with lock_of(folder).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def lock_of(folder: Path) -> Path:
    """The file that the process at work in a run folder holds; it says which process that is."""
    return folder.parent / f".{folder.name}.lock"


def result_of(folder: Path) -> Plain | None:
    """What a finished trial came to; None if it is not finished.

    Returns:
        `score`, `feasible` and `selection` (utilisation and silent rate with 95 % limits, on
        selection days), `test` (figures on test days), `steps` trained, and `weights_sha256`, the
        fingerprint of actor and critic at the end of training.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["status"] != "finished":
            return None
        judged = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        selection = judged["selection"]
        chosen = next(c for c in selection["candidates"] if c["step"] == selection["step"])
        figures = {row["name"]: row for row in judged["figures"]}
        name = judged["tuning"][0]["policy"]
        cap, rate = judged["cap"], chosen["silent_rate"]
        return {
            "score": score(chosen["utilisation"]["value"], rate["hi"], cap),
            "feasible": selection["feasible"],
            "cap": cap,
            "scenario": judged["scenario"],
            "selection": {"utilisation": chosen["utilisation"], "silent_rate": rate},
            "test": {
                what: {key: figures[f"{name}/{what}"][key] for key in ("value", "lo", "hi", "n")}
                for what in _FIGURES
            },
            "steps": manifest["results"]["steps"],
            "weights_sha256": manifest["results"]["weights_sha256"],
        }
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
