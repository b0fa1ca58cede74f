"""The verb `ledger`, its report, and the proof that a kill loses no count (a small one)."""

import csv
import datetime
import json
import re

import pytest

from quietdial.agents.ledger import Dialed, Ended, Ledger, WindowTerm, read_key, reading
from quietdial.agents.ledger.terms import Terms
from quietdial.experiments.bench.ledger_kills import run_kills
from quietdial.experiments.cli import main

START = int(datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC).timestamp()) * 1000
DAY = 86_400_000


@pytest.fixture
def path(tmp_path):
    """A ledger of two campaigns over five days, one day above its cap."""
    path = tmp_path / "l.db"
    assert main(["ledger", "init", str(path), "--quiet"]) == 0
    terms = Terms(
        "it_2014",
        (WindowTerm("campaign", 0.03), WindowTerm("day", 0.04)),
        "Europe/Rome",
        datetime.date(2026, 3, 2),
    )
    with Ledger(path, read_key(tmp_path / "l.db.key")) as book:
        for name in ("=spring <b>", "summer"):
            book.agree(name, terms, who="ada", at_ms=START, why="start")
        events = []
        for i in range(500):
            at = START + DAY * (i // 100) + 1000 * (i % 100)
            outcome = "cut" if i % 100 < 1 + 2 * (i // 200) else "connected"
            number = f"+39021{i % 90:06d}"
            events.append(Dialed(f"c{i}", "=spring <b>", at, number))
            events.append(Ended(f"c{i}", "=spring <b>", at, outcome, wait_ms=10 * i))
        book.record(events)
    return path


def lines_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_report__is_what_the_ledger_holds(path, tmp_path, capsys):
    assert main(["ledger", "report", str(path), "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    (head,) = re.findall(r"head of the audit trail: ([0-9a-f]{64})", shown)
    rows = lines_of(tmp_path / "out" / "days.csv")
    assert [(r["answered"], r["silent"]) for r in rows] == [
        ("100", s) for s in ("1", "1", "3", "3", "5")
    ]
    assert {r["campaign"] for r in rows} == {"'=spring <b>"}, "no formula for a spreadsheet"
    windows = lines_of(tmp_path / "out" / "windows.csv")
    assert [w["above"] for w in windows] == ["0", "0", "0", "0", "0", "1"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "=spring &lt;b&gt;" in page
    assert "Worst day: 2026-03-06 with 5.00 %" in page
    assert head in page
    assert not re.search(r"https?://|<script|<link|src=", page), "nothing from outside"
    assert main(["ledger", "verify", str(path), "--head", head]) == 0
    assert main(["ledger", "verify", str(path), "--head", "0" * 64]) == 1


def test_agree__sets_the_cap_and_leaves_a_trace(path, capsys):
    agree = ["ledger", "agree", str(path), "--campaign", "autumn", "--who", "ada"]
    assert main([*agree, "--first-day", "2026-09-01", "--rule", "it_2014"]) == 0
    assert main([*agree, "--cap", "0.02", "--why", "complaints"]) == 0
    assert main([*agree, "--cap", "0.02"]) == 0
    assert "campaign 2 %, from 2026-09-01 (as before)" in capsys.readouterr().out
    (found,) = reading.report(path, campaign="autumn").campaigns
    assert [json.loads(entry.content)["why"] for entry in found.changes] == ["", "complaints"]
    assert main(["ledger", "agree", str(path), "--campaign", "x"]) == 2
    assert main([*agree, "--time-zone", "Rome"]) == 2
    assert main([*agree, "--rule", "it_1900"]) == 2
    assert main([*agree, "--cap", "7"]) == 2
    assert capsys.readouterr().err.count("\n") == 4


def test_purge__says_what_went(path, capsys):
    assert main(["ledger", "purge", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["campaigns"] == 0  # kept for two years
    assert main(["ledger", "verify", str(path), "--quiet"]) == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["verify"], "needs the ledger's file"),
        (["verify", "nowhere"], "key 'nowhere.key' cannot be read"),
        (["report", "nowhere"], "there is no ledger 'nowhere'"),
        (["init", "{path}"], "a ledger is never replaced"),
        (["report", "{path}", "--campaign", "x"], "has no campaign 'x'"),
        (["proof", "--kills", "0"], "kills = 0 must be at least 1"),
    ],
)
def test_verb__refuses_in_one_line(path, args, said, capsys):
    assert main(["ledger", *(arg.format(path=path) for arg in args)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_kills__lose_no_count_and_count_none_twice(tmp_path):
    found = run_kills(8, tmp_path, seed=5)
    assert found.passed, found
    assert found.acknowledged > 100
    assert found.in_flight > 0
