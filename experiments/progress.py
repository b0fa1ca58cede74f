"""The bar of what takes more than two seconds: how far it is, and how long it will still take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress_bar(console: Console, *columns: str, stays: bool = True) -> Iterator[Progress]:
    """A progress bar with time left; nothing when not on a terminal.

    Args:
        console: where it is shown.
        columns: names of further text fields of a task, shown behind the time.
        stays: whether the finished bar remains on the terminal.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        *(TextColumn("{task.fields[" + name + "]}") for name in columns),
        console=console,
        transient=not stays,
        disable=not console.is_terminal,
    ) as bar:
        yield bar


def duration(seconds: float) -> str:
    """A time in words, to the second below an hour, else to the minute."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
