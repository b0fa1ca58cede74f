"""Completion of the command line in bash, zsh and tcsh: a script made from what the verbs read.

The verbs are asked for the forms that they would read their flags into (`common.form_of`), so that
the script knows what the command knows. shtab turns them into the script.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import shtab
import tyro

from quietdial.envs.scenario import preset_names
from quietdial.experiments.verbs.common import HABIT_FLAGS, Args, form_of

Shell = Literal["bash", "zsh", "tcsh"]

_SCENARIO: Final = {"bash": "_quietdial_scenarios", "zsh": "_quietdial_scenarios", "tcsh": "f:*"}
"""What completes the name of a scenario: presets and files."""


def completion_script(verbs: Mapping[str, Callable[[Args], int]], shell: Shell) -> str:
    """The script that a shell sources to complete `quietdial`.

    Args:
        verbs: the verbs of the command by name.
        shell: whose script.
    """
    names = " ".join(preset_names())
    preamble: Any = {  # by shell; shtab's own type says otherwise
        "bash": f'_quietdial_scenarios() {{ compgen -W \'{names}\' -- "$1"; compgen -f -- "$1"; }}',
        "zsh": f"_quietdial_scenarios() {{ compadd {names}; _files }}",
    }
    script: str = shtab.complete(command_parser(verbs), shell=shell, preamble=preamble)
    return script


def command_parser(verbs: Mapping[str, Callable[[Args], int]]) -> argparse.ArgumentParser:
    """All verbs with their flags as one argparse parser; nothing is ever parsed with it."""
    top = argparse.ArgumentParser("quietdial")
    top.add_argument("--version", action="store_true", help="print the version")
    children = {name: _verb_parser(name, verb) for name, verb in verbs.items()}
    ready: Any = lambda *, prog, **_: children[prog.split()[-1]]  # noqa: E731  in place of a class
    places = top.add_subparsers(title="verbs", parser_class=ready)
    for name, verb in verbs.items():
        places.add_parser(name, help=(verb.__doc__ or "").splitlines()[0])
    return top


def _verb_parser(name: str, verb: Callable[[Args], int]) -> argparse.ArgumentParser:
    found = form_of(verb)
    prog = f"quietdial {name}"
    parser: Any = argparse.ArgumentParser(prog)
    if found is not None and isinstance(found[0], argparse.ArgumentParser):
        parser = found[0]
    elif found is not None:
        form, options = found
        with warnings.catch_warnings():
            # tyro 1 says that a later version will lack this; it parses without argparse itself
            warnings.simplefilter("ignore", DeprecationWarning)
            parser = tyro.extras.get_parser(form, prog=prog, **options)
    parser.add_argument(*HABIT_FLAGS, action="store_true", help="how much is printed")
    for action in _actions_of(parser):
        _say_how(action)
    made: argparse.ArgumentParser = parser
    return made


def _actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    actions: list[argparse.Action] = parser._actions
    return actions


def _say_how(action: Any) -> None:
    """Say how the value of a flag is completed, where its choices do not say it."""
    if action.choices is None and action.nargs != 0:
        if action.dest.rpartition(".")[2] == "scenario":
            action.complete = _SCENARIO
        elif "PATH" in str(action.metavar):
            action.complete = shtab.FILE
