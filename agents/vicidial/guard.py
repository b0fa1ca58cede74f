"""The SQL that an administrator runs once: lease, dead man's switch, stop and start, grants.

The switch lives in the database, not in the adapter: an event looks every second whether the lease
of a campaign is still valid and sets the level to 1.0 when it is not. It works on any storage
engine, because the lease is written before the level and remembers the level before it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

from quietdial.agents.vicidial.errors import DialerError

_NAME = re.compile(r"[A-Za-z0-9_]{1,32}")
_HOST = re.compile(r"[A-Za-z0-9_.%:-]{1,60}")
_SECRET = re.compile(r"[A-Za-z0-9_.+/=-]{12,100}")

READS: Final = {
    "vicidial_campaigns": (
        "campaign_id",
        "active",
        "dial_method",
        "auto_dial_level",
    ),
    "vicidial_live_agents": ("campaign_id", "status", "lead_id", "last_update_time"),
    "vicidial_auto_calls": ("campaign_id", "status", "call_type"),
    "vicidial_campaign_stats": (
        "campaign_id",
        "calls_today",
        "answers_today",
        "drops_today",
        "drops_answers_today_pct",
    ),
    "vicidial_log": (
        "uniqueid",
        "campaign_id",
        "call_date",
        "status",
        "phone_number",
        "term_reason",
    ),
    "vicidial_statuses": ("status", "human_answered"),
}
"""Columns of VICIdial's tables that the adapter may read; it writes `auto_dial_level` only."""

_OWN = """
CREATE TABLE IF NOT EXISTS quietdial_lease (
    campaign_id VARCHAR(8) NOT NULL PRIMARY KEY,
    state ENUM('held', 'lapsed', 'override', 'stopped') NOT NULL DEFAULT 'lapsed',
    holder VARCHAR(64) NOT NULL DEFAULT '',
    level DECIMAL(6,3) NOT NULL DEFAULT 1.000,
    previous_level DECIMAL(6,3) NOT NULL DEFAULT 1.000,
    lease_ms INT UNSIGNED NOT NULL DEFAULT 3000,
    valid_until DATETIME(3) NOT NULL DEFAULT '1970-01-02 00:00:00',
    changed_at DATETIME(3) NOT NULL DEFAULT '1970-01-02 00:00:00'
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS quietdial_guard (
    one TINYINT NOT NULL PRIMARY KEY, beat DATETIME(3) NOT NULL
) ENGINE=InnoDB;
INSERT IGNORE INTO quietdial_guard VALUES (1, '1970-01-02 00:00:00');
"""

_EXPIRED = (
    "l.state = 'held' AND NOT (l.valid_until BETWEEN UTC_TIMESTAMP(3) "
    "AND UTC_TIMESTAMP(3) + INTERVAL 1000 * l.lease_ms MICROSECOND)"
)
"""Past its end, or further away than any lease reaches because the clock was set back."""

_PROGRAM = """
DROP EVENT IF EXISTS quietdial_dead_man;
CREATE EVENT quietdial_dead_man ON SCHEDULE EVERY 1 SECOND DO
BEGIN
    UPDATE quietdial_guard SET beat = UTC_TIMESTAMP(3);
    UPDATE vicidial_campaigns AS c JOIN quietdial_lease AS l ON l.campaign_id = c.campaign_id
        SET c.auto_dial_level = '1.0'
        WHERE EXPIRED
        AND CAST(c.auto_dial_level AS DECIMAL(6,3)) IN (l.level, l.previous_level);
    UPDATE quietdial_lease AS l JOIN vicidial_campaigns AS c ON l.campaign_id = c.campaign_id
        SET l.state = IF(CAST(c.auto_dial_level AS DECIMAL(6,3)) = 1.000, 'lapsed', 'override'),
        l.level = 1.000, l.previous_level = 1.000, l.changed_at = UTC_TIMESTAMP(3)
        WHERE EXPIRED;
END;
DROP PROCEDURE IF EXISTS quietdial_stop;
CREATE PROCEDURE quietdial_stop (IN campaign VARCHAR(8)) SQL SECURITY DEFINER
BEGIN
    UPDATE vicidial_campaigns SET dial_method = 'MANUAL', auto_dial_level = '1.0'
        WHERE campaign_id = campaign;
    UPDATE quietdial_lease SET state = 'stopped', level = 1.000, previous_level = 1.000,
        changed_at = UTC_TIMESTAMP(3) WHERE campaign_id = campaign;
END;
DROP PROCEDURE IF EXISTS quietdial_start;
CREATE PROCEDURE quietdial_start (IN campaign VARCHAR(8)) SQL SECURITY DEFINER
BEGIN
    INSERT INTO quietdial_lease (campaign_id) VALUES (campaign)
        ON DUPLICATE KEY UPDATE state = 'lapsed', level = 1.000, previous_level = 1.000,
        holder = '', changed_at = UTC_TIMESTAMP(3);
    UPDATE vicidial_campaigns SET dial_method = 'RATIO', auto_dial_level = '1.0'
        WHERE campaign_id = campaign;
END;
"""


@dataclass(frozen=True)
class Accounts:
    """Names for the set-up script.

    Attributes:
        database: VICIdial's schema, usually "asterisk".
        adapter: account of the adapter.
        adapter_host: where it connects from.
        adapter_password: its password; empty: a random one is written into the script.
        operator: account that may start a campaign again; it may also stop one.
        operator_host: where it connects from.
        operator_password: as above.
    """

    database: str = "asterisk"
    adapter: str = "quietdial"
    adapter_host: str = "localhost"
    adapter_password: str = ""
    operator: str = "quietdial_op"
    operator_host: str = "localhost"
    operator_password: str = ""

    def __post_init__(self) -> None:
        """Refuse names that do not go into SQL as they are."""
        for what in ("database", "adapter", "operator"):
            if not _NAME.fullmatch(getattr(self, what)):
                raise DialerError(
                    f"{what} = {getattr(self, what)!r} must be 1 to 32 letters, digits or _"
                )
        for what in ("adapter_host", "operator_host"):
            if not _HOST.fullmatch(getattr(self, what)):
                raise DialerError(f"{what} = {getattr(self, what)!r} must be the name of a host")
        for what in ("adapter_password", "operator_password"):
            if getattr(self, what) and not _SECRET.fullmatch(getattr(self, what)):
                raise DialerError(
                    f"{what}: use 12 to 100 letters, digits or _.+/=- (or none: a random one)"
                )


def statements(accounts: Accounts) -> list[str]:
    """The set-up as single statements, for a connection of an administrator."""
    return [*_split(_OWN), *_program(), *_grants(accounts)]


def script(accounts: Accounts) -> str:
    """The set-up as a script for the `mariadb` or `mysql` client."""
    own = ";\n".join(_split(_OWN))
    program = "//\n".join(_program())
    grants = ";\n".join(_grants(accounts))
    return (
        "-- quietdial on VICIdial: run once by an administrator of the database.\n"
        "-- It changes none of VICIdial's tables. The event scheduler must run: the next line\n"
        "-- starts it until the server restarts; put event_scheduler=ON into the server's\n"
        "-- configuration as well.\n"
        f"SET GLOBAL event_scheduler = ON;\nUSE {accounts.database};\n\n"
        f"{own};\n\nDELIMITER //\n{program}//\nDELIMITER ;\n\n{grants};\n"
    )


def _grants(accounts: Accounts) -> list[str]:
    adapter = f"'{accounts.adapter}'@'{accounts.adapter_host}'"
    operator = f"'{accounts.operator}'@'{accounts.operator_host}'"
    db = accounts.database
    lease = "state, holder, level, previous_level, lease_ms, valid_until, changed_at"
    return [
        f"CREATE USER IF NOT EXISTS {adapter} IDENTIFIED BY "
        f"'{accounts.adapter_password or secrets.token_urlsafe(24)}'",
        *(
            f"GRANT SELECT ({', '.join(columns)}) ON {db}.{table} TO {adapter}"
            for table, columns in READS.items()
        ),
        f"GRANT UPDATE (auto_dial_level) ON {db}.vicidial_campaigns TO {adapter}",
        f"GRANT SELECT, UPDATE ({lease}) ON {db}.quietdial_lease TO {adapter}",
        f"GRANT SELECT ON {db}.quietdial_guard TO {adapter}",
        f"GRANT EXECUTE ON PROCEDURE {db}.quietdial_stop TO {adapter}",
        f"CREATE USER IF NOT EXISTS {operator} IDENTIFIED BY "
        f"'{accounts.operator_password or secrets.token_urlsafe(24)}'",
        f"GRANT EXECUTE ON PROCEDURE {db}.quietdial_stop TO {operator}",
        f"GRANT EXECUTE ON PROCEDURE {db}.quietdial_start TO {operator}",
        f"GRANT SELECT ON {db}.quietdial_lease TO {operator}",
    ]


def _program() -> list[str]:
    return _split(_PROGRAM.replace("EXPIRED", _EXPIRED))


def _split(text: str) -> list[str]:
    """Statements of a script whose own statements begin at the left margin."""
    found: list[str] = []
    for line in text.strip().splitlines():
        if line[:1] not in ("", " ", ")") and not line.startswith(("BEGIN", "END")):
            found.append(line)
        else:
            found[-1] += "\n" + line
    return [statement.rstrip().removesuffix(";") for statement in found]
