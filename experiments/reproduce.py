"""Do a finished run again from its folder, and compare the weights and what the judge found."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from quietdial.envs.errors import RunFolderError
from quietdial.experiments.run_plan import Plan
from quietdial.experiments.rundir import RunFolder, changed_versions, first_difference
from quietdial.experiments.runs import read_manifest, read_result
from quietdial.experiments.signals import Stop
from quietdial.experiments.train import carry_out, resume_training


@dataclass(frozen=True)
class Reproduction:
    """What came of doing a run again.

    Attributes:
        run: the original.
        again: the new run.
        weights_sha256: fingerprint of the weights of both.
        difference: the first figure of the judge that differs; None: none does.
        figures: figures that were compared.
        versions: packages that differ, `name version there, version now`.
    """

    run: Path
    again: Path
    weights_sha256: tuple[str, str]
    difference: str | None
    figures: int
    versions: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether weights and figures are the same, bit for bit."""
        return self.weights_sha256[0] == self.weights_sha256[1] and self.difference is None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "same": self.same,
            "run": str(self.run),
            "again": str(self.again),
            "weights_sha256": list(self.weights_sha256),
            "difference": self.difference,
            "figures": self.figures,
            "versions": list(self.versions),
        }


def reproduce_run(
    run: Path, name: str | None, console: Console, command: str, *, stop: Stop | None = None
) -> Reproduction | None:
    """Do a run again, or go on with that, and compare.

    Args:
        run: folder of the original, finished.
        name: of the new run, which lies beside it; None: the original's with `-again`.
        console: where progress and the comparison go.
        command: the command line that asked for it.
        stop: says that the run is to stop.

    Returns:
        The comparison; None if the new run was interrupted.

    Raises:
        RunFolderError: the original is not a finished run, or the folder of the new run is that of
            another one.
    """
    run = Path(os.path.abspath(run))
    plan = Plan.of_run(run)
    _finished(run)
    again = run.parent / (name or f"{run.name}-again")
    own = {"name": again.name, "runs": str(run.parent)}
    values = {**plan.values, **own}
    plan = replace(plan, config=plan.config.model_copy(update=own), values=values)
    if (again / "manifest.json").exists():
        manifest = read_manifest(again)
        difference = first_difference(manifest["config"], values)
        if difference is not None:
            raise RunFolderError(
                f"{again} is not {run.name} done again: {difference}; give another --name"
            )
        if manifest["status"] != "finished":
            resume_training(again, console, command, stop=stop)
    else:
        folder = RunFolder.create(
            run.parent,
            again.name,
            values,
            seeds=plan.seeds,
            command=shlex.split(command),
            files=plan.files,
        )
        carry_out(plan, folder, console, command, stop=stop)
    if read_manifest(again)["status"] != "finished":
        return None
    found = compare_runs(run, again)
    _say(found, console)
    return found


def compare_runs(run: Path, again: Path) -> Reproduction:
    """Compare two finished runs; RunFolderError if one of them is not."""
    there, here = _finished(run), _finished(again)
    judged, judged_again = _judged(run), _judged(again)
    return Reproduction(
        run,
        again,
        (there["results"]["weights_sha256"], here["results"]["weights_sha256"]),
        first_difference(judged, judged_again),
        len(judged["figures"]),
        tuple(changed_versions(there["run"], here["run"])),
    )


def _judged(run: Path) -> dict[str, Any]:
    """What must be the same of a run's `evaluation.json`."""
    result = read_result(run)
    return {
        "figures": {row["name"]: row for row in result["figures"]},
        "tuning": {item["policy"]: item for item in result["tuning"]},
        "selection": result["selection"],
        "seeds": result["seeds"],
    }


def _finished(run: Path) -> dict[str, Any]:
    manifest = read_manifest(run)
    if manifest["status"] != "finished":
        raise RunFolderError(
            f"the run {str(run)!r} is {manifest['status']}; finish it first with: "
            f"quietdial resume {run}"
        )
    if "weights_sha256" not in manifest.get("results", {}):
        raise RunFolderError(
            f"the manifest of {str(run)!r} has no weights_sha256: it was made by an older version"
        )
    return manifest


def _say(found: Reproduction, console: Console) -> None:
    if found.versions:
        console.print(
            f"Not the same packages, so weights may differ: {', '.join(found.versions)}",
            highlight=False,
        )
    first, second = found.weights_sha256
    if first == second:
        console.print(f"Weights: the same, sha256 {first}", highlight=False)
    else:
        console.print(f"Weights: DIFFERENT, sha256 {first} there, {second} now", highlight=False)
    if found.difference is None:
        console.print(f"Verdict: the same, {found.figures} figures")
    else:
        console.print(f"Verdict: DIFFERENT, {found.difference}", highlight=False)
