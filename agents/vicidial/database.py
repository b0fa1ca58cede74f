"""A connection to the dialer's database that comes back by itself, slowly."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pymysql
from pymysql.constants import CLIENT

from quietdial.agents.vicidial.errors import DialerError

_FIRST_WAIT_S: Final = 0.25
_LONGEST_WAIT_S: Final = 5.0


@dataclass(frozen=True)
class Login:
    """Where the database is and who asks.

    Attributes:
        database: VICIdial's schema.
        user: account, see `guard.Accounts`.
        password: its password.
        socket: path of the Unix socket; empty: TCP.
        host: host for TCP.
        port: port for TCP.
        timeout_s: longest wait for the database [s].
    """

    database: str = "asterisk"
    user: str = "quietdial"
    password: str = field(default="", repr=False)
    socket: str = ""
    host: str = "127.0.0.1"
    port: int = 3306
    timeout_s: float = 2.0


class AwayError(DialerError):
    """The database does not answer now; the caller goes on without it and tries again."""


class Database:
    """Runs statements; after a failure it waits longer and longer before it connects again.

    Args:
        login: where and who.
        clock: monotonic clock [s].
    """

    def __init__(self, login: Login, clock: Callable[[], float] = time.monotonic) -> None:
        self._login = login
        self._clock = clock
        self._connection: Any = None
        self._wait_s = _FIRST_WAIT_S
        self._not_before = -1.0

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as is known."""
        return self._connection is not None

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query.

        Raises:
            AwayError: the database does not answer, or it is too early to try again.
            DialerError: the database refuses the query: a grant, a table or a column is missing.
        """
        return self._run(query, values)[0]

    def change(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement; how many rows its condition matched. Raises as `rows`."""
        return self._run(statement, values)[1]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            try:
                self._connection.close()
            except (pymysql.Error, OSError):
                self._connection = None
            self._connection = None

    def _run(self, text: str, values: Sequence[object]) -> tuple[list[tuple[Any, ...]], int]:
        try:
            with self._open().cursor() as cursor:
                matched = cursor.execute(text, tuple(values))
                return list(cursor.fetchall()), int(matched)
        except (pymysql.OperationalError, pymysql.InterfaceError, OSError) as error:
            number = error.args[0] if error.args else 0
            if isinstance(number, int) and number in (1044, 1045, 1142, 1143, 1370):
                raise DialerError(f"the database refuses: {_text(error)}") from None
            self._fail()
            raise AwayError(f"the database is away: {_text(error)}") from None
        except pymysql.Error as error:
            raise DialerError(f"the database refuses: {_text(error)}") from None

    def _open(self) -> Any:
        if self._connection is None:
            if self._clock() < self._not_before:
                raise AwayError("the database is away; waiting before the next try")
            self._connection = connect(self._login)
            self._wait_s = _FIRST_WAIT_S
        return self._connection

    def _fail(self) -> None:
        self.close()
        self._not_before = self._clock() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)


def connect(login: Login) -> Any:
    """An open connection, autocommit, whose `execute` counts the rows that a condition matched.

    Raises:
        pymysql.Error, OSError: it cannot be opened.
    """
    connection = pymysql.connect(
        database=login.database or None,
        user=login.user,
        password=login.password,
        unix_socket=login.socket or None,
        host=login.host,
        port=login.port,
        connect_timeout=login.timeout_s,
        read_timeout=login.timeout_s,
        write_timeout=login.timeout_s,
        autocommit=True,
        charset="utf8mb4",
        client_flag=CLIENT.FOUND_ROWS,
        defer_connect=True,
    )
    # PyMySQL leaves a Unix socket open that it could not connect.
    stream = _unix_stream(login) if login.socket else None
    connection.connect(stream)
    return connection


def _unix_stream(login: Login) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.settimeout(login.timeout_s)
        stream.connect(login.socket)
    except OSError:
        stream.close()
        raise
    return stream


def read_password(path: Path) -> str:
    """The password in a file; `DialerError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise DialerError(f"password file {str(path)!r}: {error.strerror}") from None


def _text(error: Exception) -> str:
    return " ".join(str(error.args[-1] if error.args else error).split())
