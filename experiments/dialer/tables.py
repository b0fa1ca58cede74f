"""The tables and columns of VICIdial that the adapter and the simulated floor touch.

Written by this project from the documented names of columns (survey of dialers, section 4.1); no
code of VICIdial. They are MyISAM, as there: no transaction protects what is written to them.
"""

from __future__ import annotations

from typing import Any, Final

from quietdial.agents.vicidial.guard import Accounts, statements

DATABASE: Final = "asterisk"
ADAPTER_PASSWORD: Final = "simulated-adapter"  # noqa: S105 - of a private server without network
OPERATOR_PASSWORD: Final = "simulated-operator"  # noqa: S105
ACCOUNTS: Final = Accounts(
    database=DATABASE,
    adapter_password=ADAPTER_PASSWORD,
    operator_password=OPERATOR_PASSWORD,
)

_TABLES: Final = (
    """CREATE TABLE vicidial_campaigns (
        campaign_id VARCHAR(8) NOT NULL PRIMARY KEY,
        campaign_name VARCHAR(40) NOT NULL DEFAULT '',
        active ENUM('Y', 'N') NOT NULL DEFAULT 'Y',
        dial_method VARCHAR(20) NOT NULL DEFAULT 'MANUAL',
        auto_dial_level VARCHAR(6) NOT NULL DEFAULT '0',
        adaptive_maximum_level VARCHAR(6) NOT NULL DEFAULT '3.0',
        adaptive_dropped_percentage VARCHAR(4) NOT NULL DEFAULT '3',
        drop_call_seconds TINYINT NOT NULL DEFAULT 5,
        dial_timeout TINYINT UNSIGNED NOT NULL DEFAULT 60
    ) ENGINE=MyISAM""",
    """CREATE TABLE vicidial_live_agents (
        live_agent_id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        user VARCHAR(20) NOT NULL, campaign_id VARCHAR(8) NOT NULL,
        status ENUM('READY', 'QUEUE', 'INCALL', 'PAUSED', 'CLOSER', 'MQUEUE') NOT NULL,
        lead_id INT UNSIGNED NOT NULL DEFAULT 0, callerid VARCHAR(20) NOT NULL DEFAULT '',
        last_state_change DATETIME NULL, last_update_time DATETIME NULL,
        pause_code VARCHAR(6) NOT NULL DEFAULT '',
        UNIQUE KEY user (user), KEY campaign_id (campaign_id)
    ) ENGINE=MyISAM""",
    """CREATE TABLE vicidial_auto_calls (
        auto_call_id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        campaign_id VARCHAR(20) NOT NULL,
        status ENUM('SENT', 'RINGING', 'LIVE', 'XFER', 'PAUSED', 'CLOSER', 'BUSY', 'DISCONNECT',
            'IVR') NOT NULL,
        lead_id INT UNSIGNED NOT NULL DEFAULT 0, callerid VARCHAR(20) NOT NULL,
        call_time DATETIME NOT NULL, call_type ENUM('IN', 'OUT', 'OUTBALANCE') NOT NULL,
        UNIQUE KEY callerid (callerid), KEY campaign_id (campaign_id)
    ) ENGINE=MyISAM""",
    """CREATE TABLE vicidial_campaign_stats (
        campaign_id VARCHAR(20) NOT NULL PRIMARY KEY, update_time DATETIME NULL,
        calls_today INT UNSIGNED NOT NULL DEFAULT 0, answers_today INT UNSIGNED NOT NULL DEFAULT 0,
        drops_today INT UNSIGNED NOT NULL DEFAULT 0,
        drops_answers_today_pct VARCHAR(6) NOT NULL DEFAULT '0'
    ) ENGINE=MyISAM""",
    """CREATE TABLE vicidial_log (
        uniqueid VARCHAR(20) NOT NULL PRIMARY KEY, lead_id INT UNSIGNED NOT NULL,
        campaign_id VARCHAR(8) NOT NULL, call_date DATETIME NOT NULL,
        length_in_sec INT NOT NULL DEFAULT 0, status VARCHAR(6) NOT NULL,
        phone_number VARCHAR(18) NOT NULL DEFAULT '', user VARCHAR(20) NOT NULL DEFAULT '',
        term_reason VARCHAR(20) NOT NULL DEFAULT 'NONE',
        KEY call_date (call_date), KEY lead_id (lead_id)
    ) ENGINE=MyISAM""",
    """CREATE TABLE vicidial_statuses (
        status VARCHAR(6) NOT NULL PRIMARY KEY, status_name VARCHAR(30) NOT NULL,
        human_answered ENUM('Y', 'N') NOT NULL DEFAULT 'N'
    ) ENGINE=MyISAM""",
    "CREATE TABLE simulated_clock (one TINYINT PRIMARY KEY, now DATETIME(3)) ENGINE=MEMORY",
)
_STATUSES: Final = (
    ("PU", "Call picked up", "N"),
    ("INCALL", "Lead being called", "Y"),
    ("SALE", "Sale made", "Y"),
    ("NI", "Not interested", "Y"),
    ("DROP", "Agent not available", "Y"),
    ("XDROP", "Agent not available in", "Y"),
    ("A", "Answering machine", "N"),
    ("AA", "Answering machine auto", "N"),
    ("NA", "No answer auto dial", "N"),
    ("AB", "Busy auto", "N"),
    ("ADC", "Disconnected number auto", "N"),
)
CLOCK_QUERY: Final = "SELECT now FROM simulated_clock WHERE one = 1"


def make_tables(connection: Any, *campaigns: str) -> None:
    """Make the schema, run the adapter's set-up, and start campaigns.

    Args:
        connection: of the private server's root.
        campaigns: each a `campaign_id`.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        connection.select_db(DATABASE)
        for table in _TABLES:
            cursor.execute(table)
        cursor.executemany("INSERT INTO vicidial_statuses VALUES (%s, %s, %s)", _STATUSES)
        cursor.execute("INSERT INTO simulated_clock VALUES (1, NOW(3))")
        for statement in statements(ACCOUNTS):
            cursor.execute(statement)
        cursor.execute(
            f"GRANT SELECT ON {DATABASE}.simulated_clock TO "
            f"'{ACCOUNTS.adapter}'@'{ACCOUNTS.adapter_host}'"
        )
    for campaign in campaigns:
        add_campaign(connection, campaign)


def add_campaign(connection: Any, campaign: str) -> None:
    """Add a campaign and start it at level 1.0."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO vicidial_campaigns (campaign_id) VALUES (%s)", (campaign,))
        cursor.execute("INSERT INTO vicidial_campaign_stats (campaign_id) VALUES (%s)", (campaign,))
        cursor.execute("CALL quietdial_start(%s)", (campaign,))
