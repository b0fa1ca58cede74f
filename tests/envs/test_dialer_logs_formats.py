"""VICIdial's tables and Asterisk's files, written by hand; hostile files; times of clocks."""

from __future__ import annotations

import csv
import datetime
import gzip
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietdial.envs.dialer_logs import RecordedDays, read_logs
from quietdial.envs.errors import CalibrationError

ROME = ZoneInfo("Europe/Rome")
NINE = round(datetime.datetime(2026, 3, 2, 9, tzinfo=ROME).timestamp())  # 1772438400


def at(second: int) -> str:
    """Local time so many seconds after nine."""
    moment = datetime.datetime.fromtimestamp(NINE + second, ROME)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def tabbed(path: Path, header: str, *rows: tuple[object, ...]) -> None:
    lines = [header.replace(" ", "\t")]
    lines += ["\t".join("NULL" if v is None else str(v) for v in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


LOG = "uniqueid lead_id campaign_id call_date start_epoch end_epoch length_in_sec status user"
LOG += " term_reason comments"
CARRIER = "uniqueid call_date hangup_cause dialstatus dial_time answered_time caller_code"
AGENTS = (
    "agent_log_id user event_time lead_id campaign_id pause_epoch pause_sec wait_epoch wait_sec"
)
AGENTS += " talk_epoch talk_sec dispo_epoch dispo_sec status dead_epoch dead_sec uniqueid comments"


def cycle(*phases: tuple[int, int]) -> tuple[int, ...]:
    """Begin and length of each phase, as columns."""
    return tuple(value for begin, length in phases for value in (NINE + begin, length))


@pytest.fixture
def vicidial(tmp_path: Path) -> Path:
    write_vicidial(tmp_path)
    return tmp_path


def write_vicidial(tmp_path: Path) -> None:
    """Eight calls and two agents; `comments` hold what would break a careless reader."""
    calls = [
        ("u.1", 11, "A", at(20), NINE + 20, NINE + 82, 62, "SALE", "anna", "CALLER", "a\\tb\\n"),
        ("u.2", 12, "A", at(30), NINE + 30, NINE + 33, 3, "DROP", "VDAD", "QUEUETIMEOUT", ""),
        ("u.3", 13, "A", at(31), NINE + 31, NINE + 33, 2, "DROP", "VDAD", "CALLER", "'; DROP --"),
        ("u.4", 14, "A", at(40), NINE + 40, NINE + 40, 0, "NA", "VDAD", "NONE", None),
        ("u.5", 15, "A", at(41), NINE + 41, NINE + 41, 0, "AB", "VDAD", "NONE", None),
        ("u.6", 16, "A", at(42), NINE + 42, NINE + 45, 3, "AA", "VDAD", "NONE", None),
        ("u.7", 17, "A", at(90), NINE + 90, NINE + 99, 9, "A", "anna", "AGENT", None),
        ("u.8", 18, "A", at(95), NINE + 95, None, None, "INCALL", "ugo", "NONE", None),
        ("u.1", 11, "A", at(20), NINE + 20, NINE + 82, 62, "SALE", "anna", "CALLER", "twice"),
        ("u.9", 19, "B", at(95), NINE + 95, NINE + 96, 1, "NI", "eva", "AGENT", "other campaign"),
    ]
    tabbed(tmp_path / "log.tsv", LOG, *calls)
    tabbed(
        tmp_path / "carrier.tsv",
        CARRIER,
        ("u.1", at(82), 16, "ANSWER", 75, 62, "V1"),
        ("u.2", at(33), 16, "ANSWER", 10, 3, "V2"),
        ("u.4", at(40), 19, "NOANSWER", 25, 0, "V4"),
        ("u.5", at(41), 17, "BUSY", 2, 0, "V5"),
        ("u.99", at(41), 17, "BUSY", 2, 0, "V99"),
    )
    anna, ugo = ("anna", at(0), 11, "A"), ("ugo", at(0), 18, "A")
    tabbed(
        tmp_path / "agents.tsv",
        AGENTS,
        (1, *anna, *cycle((0, 5), (5, 17), (22, 60), (82, 6)), "SALE", NINE + 72, 10, *("u.1", "")),
        (2, *anna[:2], 17, "A", *cycle((88, 0), (88, 3), (91, 8), (99, 1)), "A", 0, 0, "", "AUTO"),
        (3, *ugo, *cycle((0, 0), (0, 96), (96, 0)), None, 0, None, None, 0, "u.8", "AUTO"),
    )


def test_vicidial__every_table_in_its_place(vicidial: Path) -> None:
    days = read_logs(vicidial, campaign="A")
    (day,) = days.days
    calls, agents = day.calls, day.agents
    assert (day.label, day.wall_s, day.utc_ms) == ("2026-03-02", 9 * 3600.0, 1000 * NINE)
    by_time = list(
        zip(
            (calls["dialed_ms"] // 1000).tolist(),
            (calls["ended_ms"] // 1000).tolist(),
            calls["outcome"].tolist(),
            calls["silent"].tolist(),
            calls["waited_ms"].tolist(),
            strict=True,
        )
    )
    assert by_time == [
        (7, 20, "person", "", 2000),  # 75 - 62 = 13 s of ringing
        (15, 40, "no_answer", "", -1),
        (23, 30, "person", "cut", 3000),
        (-1, 31, "person", "left", 2000),  # no carrier row: no dial
        (39, 41, "busy", "", -1),
        (-1, 42, "machine", "", -1),
        (-1, 90, "machine", "", 1000),
        (-1, 95, "", "", 1000),
    ]
    sale = calls.where(calls["talk_ms"] >= 0)
    assert sale["talk_ms"].tolist() == [50_000]  # 60 s, 10 of them after the callee hung up
    assert sale["wrap_ms"].tolist() == [16_000]
    assert calls["machine_ms"].max() == 8000
    assert calls["censored"].tolist() == [False] * 7 + [True]
    spent = list(
        zip(
            agents["agent"].tolist(),
            agents["state"].tolist(),
            (agents["from_ms"] // 1000).tolist(),
            (agents["to_ms"] // 1000).tolist(),
            agents["censored"].tolist(),
            strict=True,
        )
    )
    assert sorted(spent) == [
        (0, "break", 0, 5, False),
        (0, "idle", 5, 22, False),
        (0, "idle", 88, 91, False),
        (0, "machine", 91, 99, False),
        (0, "talk", 22, 72, False),
        (0, "wrap", 72, 82, False),
        (0, "wrap", 82, 88, False),
        (0, "wrap", 99, 100, False),
        (1, "idle", 0, 96, False),
        (1, "talk", 96, 100, True),
    ]
    assert days.counted["rows that stand twice, the later one taken"] == 1
    assert days.counted["carrier rows of no call of the campaign"] == 1
    assert days.counted["calls still going on at the end of the log"] == 1
    assert calls.step_ms("talk_ms") == 1000
    assert "late" not in calls


def test_vicidial__says_what_is_missing_without_its_other_tables(vicidial: Path) -> None:
    day = read_logs(vicidial / "log.tsv", campaign="A").days[0]
    with pytest.raises(
        CalibrationError, match=r"dialed_ms is not known.*give vicidial_carrier_log"
    ):
        day.calls["dialed_ms"]
    with pytest.raises(CalibrationError, match="talk_ms is not known: no vicidial_agent_log"):
        day.calls["talk_ms"]
    with pytest.raises(CalibrationError, match="state is not known: no vicidial_agent_log"):
        day.agents["state"]
    assert day.calls["silent"].tolist().count("cut") == 1


def test_vicidial__sip_events_give_finer_ring_times(vicidial: Path) -> None:
    tabbed(
        vicidial / "sip.tsv",
        "call_date caller_code invite_to_ring ring_to_final invite_to_final last_event_code",
        (f"{at(7)}.250000", "V1", "1.500000", "11.125000", "12.625000", 200),
    )
    day = read_logs(vicidial, campaign="A").days[0]
    first = day.calls.where(day.calls["talk_ms"] >= 0)
    assert (first["ended_ms"] - first["dialed_ms"]).tolist() == [12_625]


def test_vicidial__choice_of_campaign(vicidial: Path) -> None:
    with pytest.raises(CalibrationError, match="holds 2 campaigns: A, B; choose one"):
        read_logs(vicidial)
    with pytest.raises(CalibrationError, match="campaign 'C' is not in vicidial_log; there are: A"):
        read_logs(vicidial, campaign="C")


def test_vicidial__a_wrong_time_zone_shows_beside_epochs(vicidial: Path) -> None:
    with pytest.raises(
        CalibrationError, match="-3600 s off start_epoch in the time zone Europe/He"
    ):
        read_logs(vicidial, campaign="A", time_zone="Europe/Helsinki")


def test_vicidial__statuses_of_the_campaign(vicidial: Path) -> None:
    (vicidial / "statuses.csv").write_text("status,human_answered\nSALE,N\n")
    day = read_logs(vicidial, campaign="A").days[0]
    assert (day.calls["outcome"] == "person").sum() == 2  # the drops
    assert day.calls["talk_ms"].max() == -1
    assert (day.calls["machine_ms"] >= 0).sum() == 2


QUEUE_LOG = [
    (0, "NONE", "q", "SIP/1", "ADDMEMBER", ""),
    (1, "NONE", "q", "SIP/1", "PAUSE", "lunch"),
    (5, "NONE", "q", "SIP/1", "UNPAUSE", ""),
    (20, "c1", "q", "NONE", "ENTERQUEUE", "", "555"),
    (22, "c1", "q", "SIP/1", "CONNECT", "2", "x", "1"),
    (25, "c2", "q", "NONE", "ENTERQUEUE", "", "555"),
    (25, "c2", "q", "SIP/1", "RINGNOANSWER", "1000"),
    (27, "c2", "q", "NONE", "ABANDON", "1", "1", "2"),
    (28, "c3", "q", "NONE", "ENTERQUEUE", "", "555"),
    (31, "c3", "q", "NONE", "EXITWITHTIMEOUT", "1", "1", "3"),
    (72, "c1", "q", "SIP/1", "COMPLETECALLER", "2", "50", "1"),
    (72, "NONE", "q", "SIP/1", "PAUSE", "wrap-up"),
    (80, "NONE", "q", "SIP/1", "UNPAUSE", ""),
    (85, "c4", "q", "NONE", "ENTERQUEUE", "", "555"),
    (86, "c4", "q", "SIP/1", "CONNECT", "1", "x", "1"),
    (90, "NONE", "NONE", "NONE", "QUEUESTART", ""),
]


def queue_lines(path: Path) -> None:
    rows = [("|".join((str(NINE + row[0]), *row[1:]))) for row in QUEUE_LOG]
    path.write_text("\n".join(rows) + "\n")


def cdr_row(unique: str, start: int, answer: int | None, end: int, disposition: str) -> str:
    billed = 0 if answer is None else end - answer
    answered = "" if answer is None else at(answer)
    return (
        f'"","555","39020{unique}","dialer","""Anna, 1"" <555>","SIP/t-1","","Queue","q,tT",'
        f'"{at(start)}","{answered}","{at(end)}",{end - start},{billed},"{disposition}",'
        f'"DOCUMENTATION","{unique}",""\n'
    )


def cdr_csv(path: Path) -> None:
    path.write_text(
        cdr_row("c1", 8, 20, 72, "ANSWERED")
        + cdr_row("c1", 20, None, 21, "NO ANSWER")  # an agent's telephone that rang
        + cdr_row("c2", 15, 25, 27, "ANSWERED")
        + cdr_row("c3", 10, 28, 31, "ANSWERED")
        + cdr_row("c5", 11, None, 36, "NO ANSWER")
        + cdr_row("c6", 12, None, 13, "BUSY")
        + cdr_row("c7", 13, None, 14, "FAILED")
        + cdr_row("c8", 14, 30, 34, "ANSWERED")
    )


def check_asterisk(days: RecordedDays) -> None:
    (day,) = days.days
    calls = day.calls
    rows = zip(
        calls["outcome"].tolist(),
        calls["silent"].tolist(),
        (calls["waited_ms"] // 1000).tolist(),
        (calls["talk_ms"] // 1000).tolist(),
        (calls["ended_ms"] - calls["dialed_ms"]).tolist(),
        strict=True,
    )
    assert sorted(rows) == [
        ("", "", -1, -1, 16_000),  # answered and never queued: nobody knows by whom
        ("busy", "", -1, -1, 1000),
        ("failure", "", -1, -1, 1000),
        ("no_answer", "", -1, -1, 25_000),
        ("person", "", 1, -1, 0),  # still talking: no CDR yet
        ("person", "", 2, 50, 12_000),
        ("person", "cut", 3, -1, 18_000),
        ("person", "left", 2, -1, 10_000),
    ]
    assert calls["wrap_ms"].max() == 8000
    spent = zip(
        day.agents["state"].tolist(),
        (day.agents["to_ms"] - day.agents["from_ms"]).tolist(),
        day.agents["censored"].tolist(),
        strict=True,
    )
    assert list(spent) == [
        ("idle", 1000, False),
        ("break", 4000, False),
        ("idle", 17_000, False),
        ("talk", 50_000, False),
        ("wrap", 8000, False),
        ("idle", 6000, False),
        ("talk", 4000, True),
    ]


def test_asterisk__lines_and_csv(tmp_path: Path) -> None:
    queue_lines(tmp_path / "queue_log")
    cdr_csv(tmp_path / "Master.csv")
    days = read_logs(tmp_path)
    check_asterisk(days)
    assert days.format == "asterisk"
    assert days.campaign == "q"
    told = days.counted[
        "answered calls that never entered the queue: a person or a machine, not told"
    ]
    assert told == 1


def test_asterisk__tables_of_a_database(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "queue.csv.gz", "wt") as stream:
        stream.write("id,time,callid,queuename,agent,event,data1,data2,data3,data4,data5\n")
        for number, row in enumerate(QUEUE_LOG):
            data = [*row[5:], "", "", "", "", ""][:5]
            stream.write(",".join([str(number), f'"{at(row[0])}.000000"', *row[1:5], *data]) + "\n")
    cdr_csv(tmp_path / "plain.csv")
    rows = list(csv.reader((tmp_path / "plain.csv").read_text().splitlines()))
    (tmp_path / "plain.csv").unlink()
    with (tmp_path / "cdr.tsv").open("w") as stream:
        stream.write("calldate\tclid\tdst\tduration\tbillsec\tdisposition\tuniqueid\tuserfield\n")
        for row in rows:
            values = [row[9], row[4], row[2], *row[12:15], row[16], row[17]]
            stream.write("\t".join(values) + "\n")
    check_asterisk(read_logs(tmp_path))


def test_asterisk__each_file_alone_says_what_it_cannot_know(tmp_path: Path) -> None:
    queue_lines(tmp_path / "queue_log")
    cdr_csv(tmp_path / "Master.csv")
    only_queue = read_logs(tmp_path / "queue_log").days[0].calls
    assert len(only_queue) == 4
    with pytest.raises(CalibrationError, match=r"dialed_ms is not known: .*give the CDR"):
        only_queue["dialed_ms"]
    only_cdr = read_logs(tmp_path / "Master.csv").days[0].calls
    assert only_cdr["outcome"].tolist().count("") == 4
    with pytest.raises(CalibrationError, match=r"waited_ms is not known: .*give the queue_log"):
        only_cdr["waited_ms"]


def test_calls_over_midnight__belong_to_the_day_of_their_dial(tmp_path: Path) -> None:
    midnight = 15 * 3600
    (tmp_path / "Master.csv").write_text(
        cdr_row("c1", midnight - 10, midnight + 5, midnight + 70, "ANSWERED")
        + cdr_row("c2", midnight + 1, None, midnight + 3, "BUSY")
    )
    days = read_logs(tmp_path)
    assert [day.label for day in days.days] == ["2026-03-02", "2026-03-03"]
    assert [len(day.calls) for day in days.days] == [1, 1]
    assert days.counted["calls over midnight, counted to the day of their dial"] == 1


def test_hour_that_the_clock_repeats__is_told_by_the_unique_id(tmp_path: Path) -> None:
    second = datetime.datetime(2026, 10, 25, 1, 30, tzinfo=datetime.UTC)  # 02:30 the second time
    epoch = round(second.timestamp())
    rows = [
        f'"","","1","d","","c","","","","2026-10-25 02:30:00","","2026-10-25 02:30:09",9,0,"BUSY",'
        f'"","{unique}",""\n'
        for unique in (f"{epoch}.1", f"{epoch - 3600}.2", "other")
    ]
    (tmp_path / "Master.csv").write_text("".join(rows))
    days = read_logs(tmp_path)
    (day,) = days.days
    assert day.calls["dialed_ms"].tolist() == [0, 0, 3_600_000]
    repeated = "local times in the hour that the clock repeats, taken for the first one"
    assert days.counted[repeated] >= 1
    assert day.local_s(day.calls["dialed_ms"]).tolist() == [9000.0] * 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q", "1772438400|c|q|NONE|ENTERQUEUE|\nrubbish\n", r"q: line 2: 'rubbish' is not epoch"),
        ("q", "1772438400|c|q|NONE|ENTERQUEUE\n99999999999|c|q|x|y\n", r"line 2: .*is not epoch"),
        ("c.csv", cdr_row("c1", 8, 20, 72, "WHAT"), r"is not a log that is known; allowed are"),
        (
            "c.csv",
            cdr_row("c1", 8, None, 72, "BUSY") + cdr_row("c1", 8, 20, 72, "WHAT"),
            r"c\.csv: line 2: disposition = 'WHAT' is not one of: ANSWERED, NO ANSWER",
        ),
        (
            "l.csv",
            "uniqueid,lead_id,call_date,status,length_in_sec\n1,2,yesterday,NA,0\n",
            r"l\.csv: line 2: 'yesterday' is not a local time such as",
        ),
        (
            "l.csv",
            "uniqueid,lead_id,call_date,status,length_in_sec\n1,2,2026-03-02 09:00:00,NA,1e3\n",
            r"line 2: length_in_sec = '1e3' is not a whole number",
        ),
        (
            "l.csv",
            "uniqueid,lead_id,call_date,status,length_in_sec\n1,2,3\n4,5,2026-03-02,NA,0\n",
            r"line 2: 3 columns, but the header has 5",
        ),
        ("l.csv", "a,b\n" + "x" * 70_000 + ",1\n", r"is not a log that is known"),
        ("cut.gz", "no gzip", r"cut\.gz: cannot be read: Not a gzipped file"),
    ],
)
def test_bad_files__one_line_with_the_place(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CalibrationError, match=message) as caught:
        read_logs(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_file_cut_off_in_its_last_line__is_read_up_to_there(tmp_path: Path) -> None:
    queue_lines(tmp_path / "queue_log")
    text = (tmp_path / "queue_log").read_text()
    (tmp_path / "queue_log").write_text(text + "17724385")
    days = read_logs(tmp_path)
    assert len(days.days[0].calls) == 4
    assert days.counted["last lines that were cut off"] == 1


WORDS = """NULL NA SALE DROP 1772438400 2026-03-02 -1 999999999999999999999999999999 \\N u.1 CALLER
ANSWERED BUSY " \0 \ud7ff 1e9 a;b \\t ENTERQUEUE CONNECT COMPLETEAGENT PAUSE NONE q 0 5 |"""
PIECES = st.sampled_from(["", "2026-10-25 02:30:00", *WORDS.split()])
HEADS = st.sampled_from(
    [
        "uniqueid,lead_id,call_date,status,length_in_sec,start_epoch,term_reason",
        "user,pause_epoch,wait_epoch,talk_epoch,dispo_epoch,pause_sec,talk_sec,dead_sec,uniqueid",
        "uniqueid,dialstatus,dial_time,answered_time,caller_code",
        "time,callid,queuename,agent,event,data1",
        "calldate,duration,billsec,disposition,uniqueid",
        "1772438400|c|q|NONE|ENTERQUEUE|",
        "",
    ]
)


def outcome_of(path: Path, campaign: str | None = None) -> str:
    """The message of the house's error, or nothing when the days could be read."""
    try:
        days = read_logs(path, campaign=campaign)
    except CalibrationError as error:
        return str(error)
    assert all(len(day.calls) for day in days.days)
    return ""


@given(files=st.lists(st.tuples(HEADS, st.lists(st.lists(PIECES, max_size=18))), max_size=4))
def test_readers__never_crash_on_rubbish(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, list[list[str]]]]
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for number, (head, rows) in enumerate(files):
        separator = "|" if "|" in head else ","
        width = len(head.split(separator))
        body = "".join(
            separator.join((row + ["0"] * width)[:width] if number % 2 else row) + "\n"
            for row in rows
        )
        (folder / f"f{number}").write_text(f"{head}\n{body}", encoding="utf-8", newline="")
    assert "\n" not in outcome_of(folder)


@given(data=st.data(), which=st.sampled_from(("vicidial", "asterisk")))
def test_readers__never_crash_on_damaged_logs(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, which: str
) -> None:
    """Logs in which cells are exchanged, lines are doubled, lost or cut."""
    folder = tmp_path_factory.mktemp("damaged")
    if which == "vicidial":
        write_vicidial(folder)
    else:
        queue_lines(folder / "queue_log")
        cdr_csv(folder / "Master.csv")
    for path in sorted(folder.iterdir()):
        lines = path.read_text().splitlines(keepends=True)
        for _ in range(data.draw(st.integers(0, 3))):
            place = data.draw(st.integers(1, len(lines) - 1))
            damage = data.draw(st.sampled_from(("cell", "double", "lose", "cut", "swap")))
            separator = {"q": "|", "M": ","}.get(path.name[0], "\t")
            cells = lines[place].rstrip("\n").split(separator)
            cell = data.draw(st.integers(0, len(cells) - 1))
            if damage == "cell":
                cells[cell] = data.draw(PIECES)
                lines[place] = separator.join(cells) + "\n"
            elif damage == "swap":
                cells[cell], cells[0] = cells[0], cells[cell]
                lines[place] = separator.join(cells) + "\n"
            elif damage == "double":
                lines.insert(place, lines[place])
            elif damage == "cut":
                lines[-1] = lines[-1][: len(lines[-1]) // 2]
            elif len(lines) > 2:
                del lines[place]
        path.write_text("".join(lines))
    assert "\n" not in outcome_of(folder, "A" if which == "vicidial" else "q")


@given(content=st.binary(max_size=300))
def test_readers__never_crash_on_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(content)
    with pytest.raises(CalibrationError):
        read_logs(path)
