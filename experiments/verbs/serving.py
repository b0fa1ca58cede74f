"""Verbs beside a real dialer: ledger."""

from __future__ import annotations

import dataclasses
import datetime
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from quietdial.envs.errors import ConfigError
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
class LedgerArgs:
    """Make, check, purge or report a compliance ledger, or prove that a kill loses no count.

    Exit code 1 if the check finds something, or if the proof fails.
    """

    action: Annotated[Literal["init", "report", "purge", "verify", "proof"], tyro.conf.Positional]
    """init: make an empty ledger and its key; report: statistics for the regulator; purge: delete
    what is past its date; verify: check counts and the audit trail; proof: kill the writer"""
    ledger: Annotated[Path | None, tyro.conf.Positional] = None
    """the ledger's file; not for proof"""
    key: Path | None = None
    """file with the key of the hashes; none: the ledger's name with .key behind it"""
    campaign: str | None = None
    """report: one campaign; none: all"""
    output: Path | None = None
    """report: folder for days.csv, windows.csv and report.html; proof: JSON file for the figures"""
    head: str = ""
    """verify: head of the audit trail that an earlier report printed"""
    kills: int = 200
    """proof: how often the writer is killed"""


def ledger(args: Args) -> int:
    """Make, check, purge or report a compliance ledger, or prove that a kill loses no count."""
    asked = parse(LedgerArgs, args, "ledger")
    from quietdial.agents.ledger import LedgerError

    try:
        return _ledger(asked, command_of("ledger", args))
    except LedgerError as error:
        raise ConfigError(str(error)) from None


def _ledger(asked: LedgerArgs, command: str) -> int:
    if asked.action == "proof":
        return _proof(asked, command)
    if asked.ledger is None:
        raise ConfigError(f"quietdial ledger {asked.action} needs the ledger's file")
    path = asked.ledger
    key = asked.key or path.with_name(path.name + ".key")
    if asked.action == "init":
        return _init(path, key)
    if asked.action == "report":
        return _report(path, key if key.exists() or asked.key else None, asked)
    from quietdial.agents.ledger import Ledger, read_key
    from quietdial.agents.ledger.reading import verify

    if asked.action == "purge":
        with Ledger(path, read_key(key)) as book:
            done = book.purge(time.time_ns() // 1_000_000, who="quietdial ledger purge")
        console_of().print(
            f"{path}: {done.persons} people forgotten, {done.decisions} decisions and "
            f"{done.campaigns} campaigns deleted"
        )
        emit(done._asdict())
        return EXIT_OK
    faults = verify(path, read_key(key), asked.head)
    console_of().print("\n".join(faults) or f"{path}: nothing wrong")
    emit({"faults": faults})
    return EXIT_FAILED if faults else EXIT_OK


def _init(path: Path, key: Path) -> int:
    from quietdial.agents.ledger import Ledger, make_key, read_key

    if path.exists():
        raise ConfigError(f"{str(path)!r} exists; a ledger is never replaced")
    secret = read_key(key) if key.exists() else make_key(key)
    Ledger(path, secret, make=True).close()
    console_of().print(f"{path} is made; its key is {key}: keep a copy, and not beside the ledger")
    emit({"ledger": str(path), "key": str(key)})
    return EXIT_OK


def _report(path: Path, key: Path | None, asked: LedgerArgs) -> int:
    from quietdial.agents.ledger import read_key
    from quietdial.agents.ledger.reading import report
    from quietdial.experiments.ledger_report import table, write

    found = report(path, None if key is None else read_key(key), asked.campaign)
    now = datetime.datetime.now(datetime.UTC).strftime("%d %B %Y, %H:%M UTC")
    files = write(found, asked.output, now) if asked.output is not None else []
    console = console_of()
    console.print(table(found))
    for fault in found.faults:
        console.print(f"[bold red]{fault}[/]")
    console.print(f"head of the audit trail: {found.head or 'none'}")
    for file in files:
        console.print(f"written: {file}")
    emit(
        {
            "campaigns": {
                c.name: {
                    "answered": sum(day.answered for day in c.days),
                    "silent": sum(day.silent for day in c.days),
                    "windows_above": sum(window.above for window in c.windows),
                }
                for c in found.campaigns
            },
            "head": found.head,
            "faults": list(found.faults),
            "files": [str(file) for file in files],
        }
    )
    return EXIT_FAILED if found.faults else EXIT_OK


def _proof(asked: LedgerArgs, command: str) -> int:
    from quietdial.experiments.bench.ledger_kills import run
    from quietdial.experiments.rundir import writable_file

    if asked.kills < 1:
        raise ConfigError(f"kills = {asked.kills} must be at least 1")
    if asked.output is not None:
        writable_file(asked.output)
    found = run(asked.kills, asked.output, command)
    console_of().print(
        f"{found.kills} kills, {found.in_flight} of them with a batch under way: "
        f"{found.lost} of {found.acknowledged} acknowledged calls lost, {found.twice} counted "
        f"twice, {found.missing} of {found.sent} missing at the end"
    )
    emit({"passed": found.passed, **found._asdict()})
    return EXIT_OK if found.passed else EXIT_FAILED
