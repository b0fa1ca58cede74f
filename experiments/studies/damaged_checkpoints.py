"""Damage checkpoints in every way, and run out of disk while they are written: nothing is lost.

Each damage is done to a copy of the checkpoints of an interrupted training, to one file of the
newest. It must be found, and the checkpoint before it must be used, whole. Then a training whose
disk is full, or whose files may not grow, must leave the checkpoints before as they were, and go on
to the same weights once there is room.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from quietdial.agents.checkpoint import ResumePoint, checkpoints_in, resume_point, weights_sha256
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.training import TrainedPolicy, train
from quietdial.envs.errors import RunFolderError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.bench.results import put_figures, result_file
from quietdial.experiments.proof.parts import Figure, failures
from quietdial.experiments.stats import clopper_pearson

NAME: Final = "damaged-checkpoints"
PAGE: Final = Path("docs/resume.md")
DAMAGES: Final = 1500
"""Damages in all, over both trainings."""

FAULTS: Final = 25
"""Full disks and limits of file size, each."""

_SMALL: Final[dict[str, Any]] = {
    "total_steps": 2048,
    "n_envs": 16,
    "n_steps": 16,
    "batch_size": 64,
    "net": (12,),
    "horizon_s": 60.0,
    "report_every": 256,
    "checkpoint_every": 1,
    "learning_starts": 64,
}
_WORLD: Final = "study-real-5"
_STOP_AFTER: Final = 100
_TMPFS_KB: Final = 4096


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do all damages and faults, show the table and write the figures; see command.py."""
    rows = damages(work, DAMAGES, console.print)
    rows += faults(work, FAULTS, console.print)
    text = markdown(rows)
    console.print(text, highlight=False)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        seeds = f"places and kinds of the damages and faults from random seeds 0 to {DAMAGES - 1}"
        write_json_atomic(output, result_file(NAME, command, seeds, rows))
        if PAGE.is_file():
            put_figures(PAGE, text, NAME)


def _train(
    algorithm: Any,
    root: Path | None,
    *,
    stop_after: int | None = None,
    resume: ResumePoint | None = None,
    on_rollout: Callable[[Any], None] | None = None,
) -> TrainedPolicy:
    """A small training; `stop_after` so many decisions."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return stop_after is not None and asked > stop_after

    return train(
        LearnerConfig.preset(algorithm, **_SMALL),
        load_scenario(_WORLD),
        checkpoints=root,
        should_stop=stop,
        resume=resume,
        on_rollout=on_rollout,
    )


def _planned(algorithm: Any) -> int:
    return LearnerConfig.preset(algorithm, **_SMALL).planned_steps


def _digest(point: ResumePoint) -> str:
    """Fingerprint of all that training goes on from."""
    arrays = {} if point.training is None else dict(point.training.arrays)
    return f"{point.step} {point.weights_sha256} {weights_sha256(arrays)}"


# -------------------------------------------------------------------------------- damages


def _flip(data: bytearray, draw: random.Random) -> bytearray:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _truncate(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(1, len(data))]


def _zero_page(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(0, len(data), 4096)
    data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    return data


def _append(data: bytearray, draw: random.Random) -> bytearray:
    return data + draw.randbytes(draw.randrange(1, 4097))


_CONTENTS: Final[dict[str, Callable[[bytearray, random.Random], bytearray]]] = {
    "bit flip": _flip,
    "truncate": _truncate,
    "zero page": _zero_page,
    "append": _append,
    "empty": lambda *_: bytearray(),
}
KINDS: Final = (*_CONTENTS, "delete", "swap two files", "file of an older one", "older one whole")


def damage(newest: Path, older: Path, kind: str, draw: random.Random) -> str:
    """Damage one checkpoint; returns the file. What changes nothing is not a damage: drawn anew."""
    if kind == "older one whole":
        shutil.rmtree(newest)
        shutil.copytree(older, newest)
        return "all"
    names = sorted(path.name for path in newest.iterdir())
    while True:
        name = draw.choice(names)
        path, before = newest / name, (newest / name).read_bytes()
        if kind == "delete":
            path.unlink()
            return name
        if kind == "swap two files":
            other = newest / draw.choice([its for its in names if its != name])
            path.write_bytes(other.read_bytes())
            other.write_bytes(before)
            return f"{name} and {other.name}"
        if kind == "file of an older one":
            after = (older / name).read_bytes()
        else:
            after = bytes(_CONTENTS[kind](bytearray(before), draw))
        if after != before:
            path.write_bytes(after)
            return name


def damages(work: Path, n: int, say: Callable[[str], None]) -> list[Figure]:
    """Do `n` damages, and go on with training after one of each kind."""
    missed: dict[str, list[str]] = {kind: [] for kind in KINDS}
    others: list[str] = []
    counts = dict.fromkeys(KINDS, 0)
    went_on = 0
    for place, algorithm in enumerate(("a2c", "dqn")):
        undisturbed = _train(algorithm, None).weights_sha256
        whole = work / algorithm
        shutil.rmtree(whole, ignore_errors=True)
        _train(algorithm, whole, stop_after=_STOP_AFTER)
        steps = checkpoints_in(whole)
        shutil.copytree(whole, work / "one", dirs_exist_ok=True)
        shutil.rmtree(work / "one" / steps[0][1].name)
        before = resume_point(work / "one", _planned(algorithm))
        shutil.rmtree(work / "one")
        if before is None:
            raise RunFolderError(f"{whole}: holds no second checkpoint to go on from")
        expected = _digest(before)
        for number in range(place, n, 2):
            draw = random.Random(number)  # noqa: S311  # places, not secrets
            kind = KINDS[(number // 2) % len(KINDS)]
            counts[kind] += 1
            root = work / "damaged"
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(whole, root)
            what = damage(root / steps[0][1].name, root / steps[1][1].name, kind, draw)
            found: list[str] = []
            point = resume_point(root, _planned(algorithm), report=found.append)
            if len(found) != 1 or point is None or _digest(point) != expected:
                missed[kind].append(f"{algorithm} number {number}: {what}")
            elif number // 2 < len(KINDS):
                went_on += 1
                if _train(algorithm, root, resume=point).weights_sha256 != undisturbed:
                    others.append(f"{algorithm} {kind}")
        say(f"{algorithm}: {sum(counts.values())} damages done")
    note = "or the one before was not used"
    rows = [failures(f"{kind}/not found", missed[kind], counts[kind], note) for kind in KINDS]
    everything = [one for its in missed.values() for one in its]
    rows.append(
        failures("all/not found", everything, sum(counts.values()), "of all damages together")
    )
    if went_on:
        note = "trained on to the end, each kind"
        rows.append(failures("other weights after a damage", others, went_on, note))
    return rows


# -------------------------------------------------------------------------------- faults


@contextlib.contextmanager
def _file_limit(n_bytes: int) -> Iterator[None]:
    """No file may grow above a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def _small_disk() -> Iterator[Path | None]:
    """A disk of 4 MiB; None where it cannot be mounted, which takes root."""
    folder = Path(tempfile.mkdtemp())
    command = ["mount", "-t", "tmpfs", "-o", f"size={_TMPFS_KB}k", "tmpfs", str(folder)]
    try:
        done = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0  # noqa: S603
        yield folder if done else None
        if done:
            subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def faults(work: Path, n: int, say: Callable[[str], None]) -> list[Figure]:
    """Run out of space `n` times for each reason while training, and go on."""
    undisturbed = {name: _train(name, None).weights_sha256 for name in ("a2c", "dqn")}
    lost: dict[str, list[str]] = {"limit of file size": [], "full disk": []}
    played = dict.fromkeys(lost, 0)
    for number in range(n):
        algorithm = "a2c" if number % 2 else "dqn"
        draw = random.Random(number)  # noqa: S311
        root = work / "limited"
        shutil.rmtree(root, ignore_errors=True)

        def limited(report: Any, draw: random.Random = draw, at: int = 2 + number % 5) -> None:
            if report.rollout == at:
                limit = _file_limit(draw.choice((0, 1, 1000, 10_000, 20_000)))
                stack.enter_context(limit)

        with contextlib.ExitStack() as stack:
            why = _fails(algorithm, root, limited)
        played["limit of file size"] += 1
        why = why or _goes_on(algorithm, root, undisturbed[algorithm])
        if why:
            lost["limit of file size"].append(f"number {number}: {why}")
    say(f"{n} limits of file size met")
    with _small_disk() as disk:
        for number in range(n if disk is not None else 0):
            if disk is None:
                break
            algorithm = "a2c" if number % 2 else "dqn"
            draw = random.Random(number)  # noqa: S311
            root, ballast = disk / "checkpoints", disk / "ballast"

            def fill(
                report: Any,
                ballast: Path = ballast,
                left: int = draw.randrange(0, 60_000),
                at: int = 2 + number % 5,
            ) -> None:
                if report.rollout == at:
                    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                        while True:
                            file.write(bytes(4096))
                    with ballast.open("r+b") as file:
                        file.truncate(max(ballast.stat().st_size - left, 0))

            why = _fails(algorithm, root, fill)
            ballast.unlink(missing_ok=True)
            played["full disk"] += 1
            why = why or _goes_on(algorithm, root, undisturbed[algorithm])
            if why:
                lost["full disk"].append(f"number {number}: {why}")
            shutil.rmtree(root, ignore_errors=True)
        say(f"{played['full disk']} full disks met" if disk else "no full disk: that takes root")
    what = "training failed in one line, left the checkpoints before, went on to the same weights"
    return [
        failures(f"{kind}/lost", lost[kind], played[kind], what) for kind in lost if played[kind]
    ]


def _fails(algorithm: str, root: Path, on_rollout: Callable[[Any], None]) -> str:
    """Train until the fault; why it did not fail as it should, or nothing."""
    try:
        _train(algorithm, root, on_rollout=on_rollout)
    except RunFolderError as error:
        return "" if "cannot be written" in str(error) else f"failed otherwise: {error}"
    return "did not fail"


def _goes_on(algorithm: str, root: Path, weights: str) -> str:
    """Go on after the fault; why that is not as it should be, or nothing."""
    debris = [path.name for path in root.glob(".*")]
    if debris:
        return f"left {debris[0]}"
    damaged: list[str] = []
    point = resume_point(root, _planned(algorithm), report=damaged.append)
    if point is None or damaged:
        return f"lost a checkpoint: {damaged or 'none is left'}"
    same = _train(algorithm, root, resume=point).weights_sha256 == weights
    return "" if same else "other weights"


# -------------------------------------------------------------------------------- the page


def markdown(rows: list[Figure]) -> str:
    """The table of the page."""
    lines = ["| damage or fault | tried | failed | 95 % bound |", "|---|---:|---:|---:|"]
    for row in rows:
        name = row["name"].removesuffix("/not found").removesuffix("/lost")
        bound = clopper_pearson(int(row["value"]), row["n"]).hi
        shown = f"**{name}**" if name == "all" else name
        lines.append(f"| {shown} | {row['n']} | {row['value']:g} | {100 * bound:.2g} % |")
    return "\n".join(lines)
