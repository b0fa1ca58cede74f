"""What all verbs share: reading flags, the terminal, results for scripts, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import tyro
from rich.console import Console

from quietdial.envs.errors import ConfigError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_UNREAD = 0, 1, 2, 130, 141

Args = Sequence[str]


@dataclass(frozen=True)
class Habits:
    """What holds for any verb.

    Attributes:
        quiet: nothing on standard output; errors still go to standard error.
        json: the result as one JSON object on standard output, and nothing else.
    """

    quiet: bool = False
    json: bool = False


HABIT_FLAGS: Final = {"--quiet": "quiet", "-q": "quiet", "--json": "json"}
"""Flags that any verb takes, and the habit that each sets."""

_NONE: Final = Habits()
_HABITS: Final[ContextVar[Habits]] = ContextVar("habits", default=_NONE)


@contextlib.contextmanager
def habits_from(args: Args) -> Iterator[list[str]]:
    """Take the flags of all verbs out of `args`; they hold within the context.

    What stands after `--` is left alone.
    """
    head, rest = list(args), []
    if "--" in head:
        at = head.index("--")
        head, rest = head[:at], head[at:]
    asked = {HABIT_FLAGS[arg]: True for arg in head if arg in HABIT_FLAGS}
    before = _HABITS.set(Habits(**asked))
    try:
        yield [arg for arg in head if arg not in HABIT_FLAGS] + rest
    finally:
        _HABITS.reset(before)


def console_of() -> Console:
    """The terminal; a file or a pipe gets lines of 100 columns. Silent if that was asked for.

    Colours follow `NO_COLOR`, as rich does.
    """
    habits = _HABITS.get()
    if habits.quiet or habits.json:
        return Console(quiet=True)
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=100)


def emit(result: Mapping[str, Any]) -> None:
    """Print the result of a verb as JSON, if that was asked for with `--json`."""
    if _HABITS.get().json:
        sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")


class _FormAsked(BaseException):
    """Carries the form of a verb out of it, past all that would catch an error."""


_ASKING: Final[ContextVar[bool]] = ContextVar("asking", default=False)


def form_of(verb: Callable[[Args], int]) -> tuple[Any, dict[str, Any]] | None:
    """The form that a verb reads its flags into, and tyro's options; None if it has no flags.

    The verb is called and comes as far as :func:`parse`. One that reads its flags otherwise must
    ask :func:`is_asking` first and say its own parser (:func:`tell_parser`).
    """
    before = _ASKING.set(True)
    try:
        verb(["--help"])
    except _FormAsked as asked:
        form, options = asked.args
        return form, options
    except ConfigError:
        return None  # it takes nothing
    finally:
        _ASKING.reset(before)
    return None


def is_asking() -> bool:
    """Whether a verb is only called for the form of its flags."""
    return _ASKING.get()


def tell_parser(parser: argparse.ArgumentParser) -> NoReturn:
    """Say the parser of a verb that does not use :func:`parse`."""
    raise _FormAsked(parser, {})


def parse(form: Any, args: Args, verb: str, **options: Any) -> Any:
    """Read flags into `form`; what is not allowed becomes a `ConfigError` of one line."""
    if _ASKING.get():
        raise _FormAsked(form, options)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(form, args=list(args), prog=f"quietdial {verb}", **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(_one_line(complaint.getvalue(), verb)) from None


def command_of(verb: str, args: Args) -> str:
    """The command that is running, as a user would type it."""
    return shlex.join(["quietdial", verb, *args])


def flag_of(args: Args, name: str) -> str | None:
    """The last value of a flag given as `--name value` or `--name=value`, or None."""
    found = [
        after if arg == name else arg.partition("=")[2]
        for arg, after in itertools.pairwise([*args, ""])
        if arg == name or arg.startswith(f"{name}=")
    ]
    return found[-1] if found else None


def _one_line(complaint: str, verb: str) -> str:
    """The parser's boxed complaint without its frame, headings and links, on one line."""
    lines = [line.strip(" \u2500\u2502\u256d\u256e\u2570\u256f") for line in complaint.splitlines()]
    text = " ".join(line for line in lines[1:] if line)
    text = re.sub(r"For full helptext.*$|For further information visit \S+", "", text)
    text = re.sub(r"\d+ validation errors? for \w+ ", "", text)
    text = re.sub(r"\[type=\w+, input_value=(.+?), input_type=\w+\]", r"(not \1)", text)
    return f"{' '.join(text.split()).rstrip('.')}; see quietdial {verb} --help"
