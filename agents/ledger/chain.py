"""The audit trail: entries that are only ever appended, each sealed with the one before it.

The mark of an entry is HMAC-SHA-256, under the ledger's key, of the mark before and of the entry.
Whoever has no key cannot change, insert or leave out an entry unnoticed. Cutting off the end is
seen by the head (the last mark), which every report prints: keep it elsewhere.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from typing import Any, Final, NamedTuple

from quietdial.agents.ledger.persons import keyed

_FIRST: Final = bytes(32)


class Entry(NamedTuple):
    """One entry of the audit trail.

    Attributes:
        number: from 1, without gaps.
        at_ms: moment [ms since 1970, UTC].
        who: who asked for it.
        what: terms, day, purge.
        campaign: its name; empty: all.
        content: canonical JSON.
    """

    number: int
    at_ms: int
    who: str
    what: str
    campaign: str
    content: str


def append(
    connection: sqlite3.Connection,
    key: bytes,
    at_ms: int,
    who: str,
    what: str,
    campaign: str,
    content: Any,
) -> None:
    """Append an entry; within the transaction of what it tells of."""
    last = connection.execute("SELECT number, mark FROM audit ORDER BY number DESC LIMIT 1")
    number, mark = last.fetchone() or (0, _FIRST)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    entry = Entry(number + 1, at_ms, who, what, campaign, text)
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", (*entry, _mark(key, mark, entry))
    )


def entries(connection: sqlite3.Connection) -> list[Entry]:
    """All entries, oldest first."""
    rows = connection.execute(
        "SELECT number, at_ms, who, what, campaign, content FROM audit ORDER BY number"
    )
    return [Entry(*row) for row in rows]


def head(connection: sqlite3.Connection) -> str:
    """The last mark, 64 hexadecimal digits; empty if there is no entry."""
    row = connection.execute("SELECT mark FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    return bytes(row[0]).hex() if row else ""


def faults(connection: sqlite3.Connection, key: bytes, known_head: str = "") -> list[str]:
    """What is wrong with the trail, in words; nothing: it is whole.

    Args:
        connection: the ledger.
        key: its key.
        known_head: a head that was printed earlier and must occur; empty: none.
    """
    found: list[str] = []
    mark, expected, heads = _FIRST, 1, set()
    for entry in entries(connection):
        stored = connection.execute("SELECT mark FROM audit WHERE number = ?", (entry.number,))
        kept = bytes(stored.fetchone()[0])
        if entry.number != expected:
            found.append(f"audit entry {expected} is missing")
        if not hmac.compare_digest(kept, _mark(key, mark, entry)):
            found.append(f"audit entry {entry.number} was changed, or the one before it")
        mark, expected = kept, entry.number + 1
        heads.add(kept.hex())
    if known_head and known_head.lower() not in heads:
        found.append("the head that you gave is not in the audit trail: entries were cut off")
    return found


def _mark(key: bytes, before: bytes, entry: Entry) -> bytes:
    text = json.dumps(list(entry), separators=(",", ":"), allow_nan=False)
    return keyed(key, b"audit", before + text.encode())
