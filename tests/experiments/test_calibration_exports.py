"""The commands of docs/calibration.md export what the reader reads, from a real MariaDB."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from quietdial.envs.dialer_logs import read_logs
from quietdial.experiments.calibration import proof
from quietdial.experiments.dialer import mariadb

pytestmark = pytest.mark.skipif(
    mariadb.why_missing() is not None, reason=mariadb.why_missing() or ""
)
# Columns with the types of VICIdial's schema.
TABLES = {
    "vicidial_log": "uniqueid VARCHAR(20) PRIMARY KEY, lead_id INT UNSIGNED, "
    "campaign_id VARCHAR(8), call_date DATETIME, start_epoch INT UNSIGNED, end_epoch INT UNSIGNED, "
    "length_in_sec INT(10), status VARCHAR(6), phone_number VARCHAR(18), user VARCHAR(20), "
    "term_reason VARCHAR(20)",
    "vicidial_agent_log": "agent_log_id INT UNSIGNED PRIMARY KEY, user VARCHAR(20), "
    "event_time DATETIME, lead_id INT UNSIGNED, campaign_id VARCHAR(8), pause_epoch INT UNSIGNED, "
    "pause_sec SMALLINT UNSIGNED, wait_epoch INT UNSIGNED, wait_sec SMALLINT UNSIGNED, "
    "talk_epoch INT UNSIGNED, talk_sec SMALLINT UNSIGNED, dispo_epoch INT UNSIGNED, "
    "dispo_sec SMALLINT UNSIGNED, dead_sec SMALLINT UNSIGNED, uniqueid VARCHAR(20), "
    "comments VARCHAR(20)",
    "vicidial_carrier_log": "uniqueid VARCHAR(20) PRIMARY KEY, call_date DATETIME, "
    "lead_id INT UNSIGNED, hangup_cause TINYINT UNSIGNED, dialstatus VARCHAR(16), "
    "dial_time SMALLINT UNSIGNED, answered_time SMALLINT UNSIGNED",
    "vicidial_user_log": "user VARCHAR(20), event VARCHAR(50), campaign_id VARCHAR(8), "
    "event_date DATETIME, event_epoch INT UNSIGNED",
}


def test_documented_exports__give_the_same_days(repository: Path, tmp_path: Path) -> None:
    world = proof.true_world(n_agents=6, duration_s=1800.0)
    proof.record(world, 2, 5, tmp_path, "ratio:2.2")
    direct = read_logs(tmp_path / "vicidial")
    text = (repository / "docs" / "calibration.md").read_text(encoding="utf-8")
    commands = re.findall(r"^mariadb (.*) > (\S+)$", text, flags=re.MULTILINE)
    assert len(commands) == len(TABLES)
    out = tmp_path / "exported"
    out.mkdir()
    client = mariadb.find("mariadb")
    assert client is not None
    with mariadb.private_server() as socket:
        root = mariadb.connect(socket)
        with root.cursor() as cursor:
            cursor.execute("CREATE DATABASE asterisk CHARACTER SET utf8mb4")
            cursor.execute("USE asterisk")
            for name, columns in TABLES.items():
                cursor.execute(f"CREATE TABLE {name} ({columns}) ENGINE=MyISAM")
                head, *lines = (tmp_path / "vicidial" / f"{name}.tsv").read_text().splitlines()
                marks = ", ".join(["%s"] * len(head.split("\t")))
                rows = [[None if v == "NULL" else v for v in row.split("\t")] for row in lines]
                names = head.replace("\t", ", ")
                cursor.executemany(f"INSERT INTO {name} ({names}) VALUES ({marks})", rows)
            cursor.execute("UPDATE vicidial_agent_log SET comments = 'AUTO\\t\\n\\\\x\"'")
        root.close()
        for command, target in commands:
            args = [client, f"--socket={socket}", "--user=root", *shlex.split(command)]
            done = subprocess.run(args, capture_output=True, check=True)
            (out / target).write_bytes(done.stdout)
    exported = read_logs(out)
    assert proof.counts_of(exported) == proof.counts_of(direct)
    assert len(exported.days) == 2
    for ours, theirs in zip(direct.days, exported.days, strict=True):
        for column in ours.calls.columns:
            if column != "person":  # rows come in another order, so numbers differ
                assert sorted(ours.calls[column].tolist()) == sorted(theirs.calls[column].tolist())
        assert len(ours.agents) == len(theirs.agents)
