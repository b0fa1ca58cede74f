"""Verbs that print: the reference pages (Markdown), and the script of shell completion."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Literal

import tyro

from quietdial.envs.errors import ConfigError
from quietdial.experiments.verbs.common import EXIT_OK, Args, parse


def reference(args: Args) -> int:
    """Print the reference page of the environment (Markdown)."""
    if args:
        raise ConfigError(f"quietdial reference takes no arguments, not {' '.join(args)}")
    from quietdial.envs.pacing.spec import page

    sys.stdout.write(page())
    return EXIT_OK


def rules(args: Args) -> int:
    """Print the page of the rules on silent calls (Markdown)."""
    if args:
        raise ConfigError(f"quietdial rules takes no arguments, not {' '.join(args)}")
    from quietdial.envs.regulation.page import page

    sys.stdout.write(page())
    return EXIT_OK


def pacing_rules(args: Args) -> int:
    """Print the page of the pacing rules (Markdown)."""
    if args:
        raise ConfigError(f"quietdial pacing-rules takes no arguments, not {' '.join(args)}")
    from quietdial.agents.rules.page import page

    sys.stdout.write(page())
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class CompletionArgs:
    """Print the script that completes `quietdial` in a shell: verbs, flags, scenarios and files.

    In ~/.bashrc: eval "$(quietdial completion bash)". For zsh, a file _quietdial in the fpath.
    """

    shell: Annotated[Literal["bash", "zsh", "tcsh"], tyro.conf.Positional]
    """whose script"""


def completion(args: Args) -> int:
    """Print the script that completes this command in bash, zsh or tcsh."""
    asked = parse(CompletionArgs, args, "completion")
    from quietdial.experiments.cli import VERBS
    from quietdial.experiments.completion import completion_script

    sys.stdout.write(completion_script(VERBS, asked.shell) + "\n")
    return EXIT_OK
