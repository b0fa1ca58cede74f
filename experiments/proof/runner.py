"""`quietdial proof`: play the parts one after the other, keep what is finished, tell the result.

Every finished part is written at once to a file of its own in the state folder. A later call takes
it from there as long as nothing that it depends on has changed: the sources of quietdial and the
versions of the packages. So an interrupted proof goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.bench.results import result_file
from quietdial.experiments.progress import progress_bar
from quietdial.experiments.proof.parts import FAILURES, PARTS, SAMPLE, Figure, Part, chosen, failed
from quietdial.experiments.rundir import make_folder, package_versions

NAME = "world-proof"
STATE = Path("runs/proof")
"""Where finished parts are kept, unless another folder is given."""

STATE_SCHEMA = "quietdial-proof-part/1"
SEEDS = "written in each part: campaigns of cell k have the seeds from 1,000,000 (k + 1)"
_ROOMS = ("envs", "agents", "experiments")


class Finished(NamedTuple):
    """A part that has been played.

    Attributes:
        part: which one.
        figures: its figures.
        seconds: how long it took.
        kept: whether it was taken from the state folder.
    """

    part: Part
    figures: list[Figure]
    seconds: float
    kept: bool

    @property
    def failed(self) -> list[Figure]:
        """Figures that must be 0 and are not."""
        return failed(self.figures)


def sources_sha256(root: Path | None = None) -> str:
    """SHA-256 of all that figures depend on: sources, shipped scenarios, versions of packages.

    Args:
        root: folder of the three rooms; None: this installation's.
    """
    root = root or Path(__file__).resolve().parents[2]
    digest = hashlib.sha256(json.dumps(package_versions(), sort_keys=True).encode())
    for room in _ROOMS:
        files = [*(root / room).rglob("*.py"), *(root / room).rglob("*.yaml")]
        for path in sorted(files):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


# --- what is kept ---------------------------------------------------------------------------------


def _state_file(folder: Path, part: Part, scale: float) -> Path:
    return folder / f"{part.name}{'' if scale >= 1.0 else '-quick'}.json"


def _kept(path: Path, part: Part, key: dict[str, Any]) -> Finished | None:
    """The part as it was finished before, or None if it must be played (again)."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if {name: data[name] for name in key} != key:
            return None
        return Finished(part, list(data["figures"]), float(data["seconds"]), True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(part: Part, scale: float, sources: str) -> dict[str, Any]:
    return {"schema": STATE_SCHEMA, "part": part.name, "scale": scale, "sources": sources}


# --- the proof ------------------------------------------------------------------------------------


def run(
    names: Sequence[str],
    *,
    quick: bool,
    output: Path | None,
    console: Console,
    fresh: bool = False,
    state: Path = STATE,
    command: str = "quietdial proof",
    parts: Sequence[Part] | None = None,
) -> list[Finished]:
    """Play the named parts, or all of them, print what was found, and save the figures.

    Args:
        names: parts to play; none: all.
        quick: a sample of each part, for minutes instead of the whole proof.
        output: JSON file for the figures of all parts that are finished, also earlier; or None.
        console: where the times, the progress and the table go.
        fresh: play again what is finished.
        state: folder in which finished parts are kept.
        command: command line, for the result file.
        parts: all parts of the proof; None: `PARTS`.

    Returns:
        The named parts; see `Finished.failed` for what was rejected.

    Raises:
        ConfigError: a name is unknown.
        RunFolderError: the state folder cannot be written.
    """
    parts = PARTS if parts is None else parts
    asked = chosen(names, parts)
    make_folder(state)
    scale = SAMPLE if quick else 1.0
    sources = sources_sha256()
    keys = {part.name: _key(part, scale, sources) for part in parts}
    found: dict[str, Finished] = {}
    for part in parts:
        kept = _kept(_state_file(state, part, scale), part, keys[part.name])
        if kept is not None and not (fresh and part in asked):
            found[part.name] = kept
    to_play = [part for part in asked if part.name not in found]
    _announce(asked, to_play, quick=quick, console=console)
    for part in to_play:
        figures, seconds = _play(part, scale, console)
        row = {**keys[part.name], "seconds": round(seconds, 1), "figures": figures}
        write_json_atomic(_state_file(state, part, scale), row)
        found[part.name] = Finished(part, figures, seconds, False)
    result = [found[part.name] for part in asked]
    for finished in result:
        _show(finished, console)
    if output is not None:
        complete = [found[part.name] for part in parts if part.name in found]
        rows = [row for finished in complete for row in finished.figures]
        name = f"{NAME}-sample" if quick else NAME
        write_json_atomic(output, result_file(name, command, SEEDS, rows))
        missing = [part.name for part in parts if part.name not in found]
        without = f", without {', '.join(missing)} (not played yet)" if missing else ""
        console.print(f"saved to {output}{without}")
    return result


def _announce(
    asked: Sequence[Part], to_play: Sequence[Part], *, quick: bool, console: Console
) -> None:
    """Say what will be played and how long that takes."""
    for part in asked:
        if part not in to_play:
            console.print(f"[bold]{part.name}[/]: finished before")
        elif quick:
            console.print(f"[bold]{part.name}[/]: {part.proves}; a sample")
        else:
            console.print(
                f"[bold]{part.name}[/]: {part.proves}; about {part.minutes:g} min on one core"
            )
    if len(to_play) > 1 and not quick:
        console.print(f"{sum(part.minutes for part in to_play):g} min in all")


def _play(part: Part, scale: float, console: Console) -> tuple[list[Figure], float]:
    """Play one part with a progress bar; its figures and how long it took [s]."""
    began = time.perf_counter()
    with progress_bar(console, "now", stays=False) as bar:
        task = bar.add_task(part.name, total=1.0, now="")
        quarter = 0

        def report(what: str, share: float) -> None:
            nonlocal quarter
            bar.update(task, completed=share, now=what)
            if not console.is_terminal and int(4 * share) > quarter:
                quarter = int(4 * share)
                seconds = time.perf_counter() - began
                console.print(f"  {part.name}: {25 * quarter} % done after {seconds:.0f} s")

        figures = part.load()(scale, report)
    if not figures:
        raise ConfigError(f"part {part.name!r} of the proof returned no figures")
    return figures, time.perf_counter() - began


def _show(finished: Finished, console: Console) -> None:
    """The families of a part in a table, and everything that was rejected in full."""
    rejected = finished.failed
    verdict = f"[bold red]{len(rejected)} FAILED[/]" if rejected else "[bold green]passed[/]"
    when = "earlier" if finished.kept else f"in {finished.seconds:.0f} s"
    console.print(f"\n[bold]{finished.part.name}[/] {verdict} ({when})")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("checked", "checks", "failed", "largest z", "smallest bias"):
        table.add_column(title, justify="left" if title == "checked" else "right")
    named = {row["name"]: row for row in finished.figures}
    for row in finished.figures:
        if row["unit"] == FAILURES:
            family = row["name"].removesuffix("/rejected")
            table.add_row(
                family.removeprefix(f"{finished.part.name}/"),
                str(row["n"]),
                f"{row['value']:.0f}",
                _shown(named.get(f"{family}/largest_z"), lambda z: f"{z:.2f}"),
                _shown(named.get(f"{family}/smallest_bias"), lambda share: f"{100 * share:.2g} %"),
            )
    console.print(table)
    for row in rejected:
        console.print(f"[red]{row['name']}[/]: {escape(row['note'])}")


def _shown(row: Figure | None, form: Callable[[float], str]) -> str:
    return "" if row is None else form(row["value"])
