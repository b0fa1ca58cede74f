"""Verbs that print the reference pages (Markdown): reference, rules, pacing-rules."""

from __future__ import annotations

import sys

from quietdial.envs.errors import ConfigError
from quietdial.experiments.verbs.common import EXIT_OK, Args


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
