"""The verb that answers a dialer: serve."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from quietdial.experiments.verbs.common import (
    EXIT_FAILED,
    EXIT_OK,
    Args,
    command_of,
    console_of,
    emit,
    is_asking,
    parse,
    tell_parser,
)


@dataclasses.dataclass(frozen=True)
class ServeProofArgs:
    """Prove what the sidecar promises: storm, steady load, independent clients (20 minutes).

    Exit code 1 if anything is not 0 that must be.
    """

    quick: bool = False
    """a sample, about a minute"""
    output: Path | None = None
    """JSON file for the figures"""
    page: Path | None = None
    """Markdown file whose table of figures is made anew"""


def serve(args: Args) -> int:
    """Answer a dialer: how many calls now (quietdial serve proof: prove that it always does)."""
    if list(args[:1]) == ["proof"]:
        return _serve_proof(args)
    if is_asking():
        from quietdial.agents.serve.settings import make_parser

        tell_parser(make_parser())
    # The serving process is another one: it holds neither the simulator nor this command line.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "quietdial.agents.serve", *args])  # noqa: S606


def _serve_proof(args: Args) -> int:
    asked = parse(ServeProofArgs, args[1:], "serve proof")
    from quietdial.experiments.sidecar.prove import QUICK, WHOLE, prove

    size = QUICK if asked.quick else WHOLE
    passed = prove(size, asked.output, console_of(), command_of("serve", args), asked.page)
    emit({"passed": passed, "output": None if asked.output is None else str(asked.output)})
    return EXIT_OK if passed else EXIT_FAILED
