"""Verbs beside a real dialer: ledger, vicidial."""

from __future__ import annotations

import dataclasses
import datetime
import sys
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

    action: Annotated[
        Literal["init", "agree", "report", "purge", "verify", "proof"], tyro.conf.Positional
    ]
    """init: make an empty ledger and its key; agree: set what a campaign has to keep; report:
    statistics for the regulator; purge: delete what is past its date; verify: check counts and the
    audit trail; proof: kill the writer"""
    ledger: Annotated[Path | None, tyro.conf.Positional] = None
    """the ledger's file; not for proof"""
    key: Path | None = None
    """file with the key of the hashes; none: the ledger's name with .key behind it"""
    campaign: str | None = None
    """agree: its name; report: one campaign; none: all"""
    rule: str = "it_2014"
    """agree: the compliance rule (`quietdial rules`)"""
    cap: float | None = None
    """agree: another cap of the rule's first window"""
    time_zone: str = "Europe/Rome"
    """agree: zone whose midnight ends a day; stays once set"""
    first_day: datetime.date | None = None
    """agree: first day of a new campaign; none: today"""
    who: str = ""
    """agree: who decides it, for the audit trail"""
    why: str = ""
    """agree: the reason, for the audit trail"""
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
    if asked.action == "agree":
        return _agree(path, key, asked)
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


def _agree(path: Path, key: Path, asked: LedgerArgs) -> int:
    from quietdial.agents.ledger import Ledger, read_key, terms_of
    from quietdial.envs.regulation.calendar import zone_of
    from quietdial.envs.regulation.rule import Rule, load_rule

    if not asked.campaign or not asked.who:
        raise ConfigError("quietdial ledger agree needs --campaign and --who")
    rule = load_rule(asked.rule)
    if asked.cap is not None:
        rule = Rule.model_validate({"profile": asked.rule, "cap": asked.cap})
    with Ledger(path, read_key(key)) as book:
        known = book.campaigns.get(asked.campaign)
        first = known.first_day if known and asked.first_day is None else asked.first_day
        today = datetime.datetime.now(zone_of(asked.time_zone)).date()
        terms = terms_of(rule, asked.time_zone, first or today)
        now_ms = time.time_ns() // 1_000_000
        new = book.agree(asked.campaign, terms, who=asked.who, at_ms=now_ms, why=asked.why)
    caps = ", ".join(f"{w.kind} {100 * w.cap:g} %" for w in terms.windows)
    console_of().print(
        f"{asked.campaign}: {rule.id}, {caps}, from {terms.first_day}"
        + ("" if new else " (as before)")
    )
    emit({"campaign": asked.campaign, "changed": new, "first_day": terms.first_day.isoformat()})
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


@dataclasses.dataclass(frozen=True)
class VicidialArgs:
    """Set up VICIdial's database, stop or start a campaign, or prove the dead man's switch.

    `quietdial vicidial run --help` shows the flags of the adapter itself.
    """

    action: Annotated[
        Literal["setup", "start", "stop", "status", "proof", "loop", "demo"], tyro.conf.Positional
    ]
    """setup: write the SQL that an administrator runs once; start: dial method RATIO at level 1.0;
    stop: dial method MANUAL; status: the lease; proof: kill the adapter on a private MariaDB; loop:
    the closed loop on a simulated floor against the simulator; demo: that loop live"""
    campaign: Annotated[str, tyro.conf.Positional] = ""
    """campaign_id"""
    print: bool = True
    """setup: to standard output; quietdial never asks for an administrator's password"""
    socket: str = ""
    """Unix socket of the database; none: TCP"""
    host: str = "127.0.0.1"
    """host of the database"""
    port: int = 3306
    """port of the database"""
    database: str = "asterisk"
    """VICIdial's schema"""
    user: str = "quietdial_op"
    """account that may start and stop (setup makes it)"""
    password_file: Path | None = None
    """file with its password"""
    adapter_host: str = "localhost"
    """setup: host that the adapter connects from"""
    operator_host: str = "localhost"
    """setup: host that operators connect from"""
    kills: int = 50
    """proof: how often the adapter is killed"""
    days: int = 4
    """loop: different days"""
    hours: float = 1.0
    """loop: simulated hours of each"""
    output: Path | None = None
    """proof, loop: JSON file for the figures"""
    seconds: float | None = None
    """demo: how long; none: until Ctrl-C"""
    speed: float = 12.0
    """demo: simulated seconds a second, 1 to 120"""
    bundle: Path | None = None
    """demo: exported policy of observation counters and action vicidial_level; none: a plain rule
    is exported first"""
    scenario: str = "italy-50"
    """demo: the floor"""


def vicidial(args: Args) -> int:
    """Steer a VICIdial campaign under a lease; set up, stop, start, prove it."""
    from quietdial.agents.runtime.errors import PacerError

    try:
        if args and args[0] == "run":
            from quietdial.agents.vicidial.__main__ import steer

            steer(list(args[1:]), "quietdial vicidial run")
            return EXIT_OK
        return _vicidial(parse(VicidialArgs, args, "vicidial"), command_of("vicidial", args))
    except PacerError as error:
        raise ConfigError(str(error)) from None


def _vicidial(asked: VicidialArgs, command: str) -> int:
    if asked.action == "setup":
        from quietdial.agents.vicidial.guard import Accounts, script

        accounts = Accounts(
            database=asked.database,
            adapter_host=asked.adapter_host,
            operator_host=asked.operator_host,
        )
        sys.stdout.write(script(accounts))
        return EXIT_OK
    if asked.action in ("proof", "loop"):
        return _dialer_proof(asked, command)
    if asked.action == "demo":
        return _demo(asked)
    if not asked.campaign:
        raise ConfigError(f"quietdial vicidial {asked.action} needs the campaign's id")
    return _operate(asked)


def _operate(asked: VicidialArgs) -> int:
    from quietdial.agents.vicidial.database import Database, Login, read_password

    password = read_password(asked.password_file) if asked.password_file else ""
    database = Database(
        Login(
            database=asked.database,
            user=asked.user,
            password=password,
            socket=asked.socket,
            host=asked.host,
            port=asked.port,
        )
    )
    if asked.action == "stop":
        database.change("CALL quietdial_stop(%s)", (asked.campaign,))
    elif asked.action == "start":
        database.change("CALL quietdial_start(%s)", (asked.campaign,))
    found = database.rows(
        "SELECT state, holder, level, valid_until FROM quietdial_lease WHERE campaign_id = %s",
        (asked.campaign,),
    )
    database.close()
    if not found:
        raise ConfigError(
            f"campaign {asked.campaign!r} has no lease; begin with: quietdial vicidial start"
        )
    state, holder, level, until = found[0]
    held = f", level {level} held by {holder} until {until} UTC" if state == "held" else ""
    console_of().print(f"{asked.campaign}: {state}{held}")
    emit({"campaign": asked.campaign, "state": state, "holder": holder, "level": float(level)})
    return EXIT_OK


def _demo(asked: VicidialArgs) -> int:
    from quietdial.experiments.dialer.demo import run_demo

    if not 1 <= asked.speed <= 120 or (asked.seconds is not None and not asked.seconds > 0):
        raise ConfigError(
            f"speed = {asked.speed:g} must be 1 to 120, and seconds = {asked.seconds} above 0"
        )
    show = run_demo(
        console_of(),
        scenario=asked.scenario,
        bundle=asked.bundle,
        speed=asked.speed,
        seconds=asked.seconds,
    )
    returned = ", ".join(f"{s:.1f} s" for s in show.returned_s) or "-"
    console_of().print(
        f"{show.silent} silent of {show.answered} answered calls; highest level {show.highest:g}; "
        f"{show.kills} kills, level 1.0 after: {returned}; in the ledger {show.kept_silent} silent "
        f"of {show.kept_answered} answered calls that are over, {len(show.faults)} faults"
    )
    emit(dataclasses.asdict(show))
    return EXIT_OK


def _dialer_proof(asked: VicidialArgs, command: str) -> int:
    from quietdial.experiments.rundir import writable_file

    if asked.kills < 1 or asked.days < 2 or not asked.hours > 0:
        raise ConfigError(
            f"kills = {asked.kills}, days = {asked.days}, hours = {asked.hours:g}: give at least "
            "1 kill, 2 days and some time"
        )
    if asked.output is not None:
        writable_file(asked.output)
    if asked.action == "proof":
        from quietdial.experiments.bench import dead_man

        killed = dead_man.run(asked.kills, asked.output, command)
        worst = max(killed.seconds)
        console_of().print(
            f"{len(killed.seconds)} kills: level 1.0 after {worst:.2f} s at worst, {killed.late} "
            f"later than {dead_man.LEASE_S + dead_man.GRACE_S:g} s"
        )
        emit({"passed": not killed.late, "seconds": list(killed.seconds)})
        return EXIT_FAILED if killed.late else EXIT_OK
    from quietdial.experiments.bench import vicidial_loop

    figures = vicidial_loop.run(asked.days, asked.hours, asked.output, command)
    for row in figures:
        console_of().print(
            f"{row['name']}: {row['value']:.5g} {row['unit']} ({row['lo']:.5g} to {row['hi']:.5g})"
        )
    emit({"figures": figures})
    return EXIT_OK
