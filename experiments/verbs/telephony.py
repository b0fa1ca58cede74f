"""The verb of real calls: sip."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from quietdial.experiments.verbs.common import (
    EXIT_FAILED,
    EXIT_OK,
    Args,
    command_of,
    console_of,
    emit,
    parse,
)


@dataclasses.dataclass(frozen=True)
class SipArgs:
    """Place real SIP calls as the sidecar says, SIPp being the network, against the simulator.

    Needs SIPp (Debian: sip-tester) and a checkout. About 20 minutes, in real time. Exit code 1 if a
    count does not agree or a figure differs.
    """

    action: Annotated[Literal["proof"], tyro.conf.Positional]
    """proof: play both and compare"""
    quick: bool = False
    """a sample, about two minutes"""
    output: Path | None = None
    """JSON file for the figures"""
    page: Path | None = None
    """Markdown file whose tables of figures are made anew"""


def sip(args: Args) -> int:
    """Place real SIP calls as the sidecar says, and compare with the simulator."""
    asked = parse(SipArgs, args, "sip")
    from quietdial.experiments.sip.prove import QUICK, WHOLE, prove

    size = QUICK if asked.quick else WHOLE
    passed = prove(size, asked.output, console_of(), command_of("sip", args), asked.page)
    emit({"passed": passed, "output": None if asked.output is None else str(asked.output)})
    return EXIT_OK if passed else EXIT_FAILED
