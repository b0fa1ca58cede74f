"""A private MariaDB server: own data folder and Unix socket, no network; gone when closed."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pymysql

from quietdial.agents.vicidial.database import Login
from quietdial.agents.vicidial.database import connect as database_connect
from quietdial.envs.errors import QuietDialError

_START_S: Final = 60.0
_SEARCHED: Final = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec")


class MissingServerError(QuietDialError):
    """There is no MariaDB server on this machine."""


def find(program: str) -> str | None:
    """Path of one of the server's programs, or None."""
    places = [shutil.which(program), *(shutil.which(program, path=p) for p in _SEARCHED)]
    return next((place for place in places if place), None)


def why_missing() -> str | None:
    """One line on what is missing for a private server; None: nothing."""
    if find("mariadbd") and find("mariadb-install-db"):
        return None
    return "MariaDB is not installed; on Debian: apt-get install mariadb-server"


@contextlib.contextmanager
def private_server() -> Iterator[Path]:
    """Start a server; its Unix socket, where root needs no password. Stopped at the end.

    Raises:
        MissingServerError: MariaDB is not installed, or it does not start.
    """
    missing = why_missing()
    if missing:
        raise MissingServerError(missing)
    # A socket's path may have no more than 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="qd-", dir="/tmp"))
    try:
        process = _start(folder)
        try:
            _wait(folder, process)
            yield folder / "sock"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def connect(socket: Path, database: str = "") -> Any:
    """A connection of the server's root, autocommit (`pymysql.Error`: it does not answer)."""
    return database_connect(Login(database, "root", socket=str(socket), timeout_s=30.0))


def _start(folder: Path) -> subprocess.Popen[bytes]:
    user = getpass.getuser()
    common = ["--no-defaults", f"--user={user}", f"--datadir={folder / 'data'}"]
    made = subprocess.run(  # noqa: S603 - our own arguments
        [
            str(find("mariadb-install-db")),
            *common,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=8M",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise MissingServerError("MariaDB makes no data folder: " + made.stderr.strip()[-200:])
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603
            [
                str(find("mariadbd")),
                *common,
                f"--socket={folder / 'sock'}",
                f"--pid-file={folder / 'pid'}",
                "--skip-networking",
                "--event-scheduler=ON",
                "--performance-schema=OFF",
                "--innodb-buffer-pool-size=16M",
                "--innodb-log-file-size=8M",
                "--innodb-flush-log-at-trx-commit=2",
                "--key-buffer-size=8M",
                "--aria-pagecache-buffer-size=8M",
            ],
            stdout=log,
            stderr=log,
        )


def _wait(folder: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(pymysql.Error, OSError):
            connect(folder / "sock").close()
            return
        if process.poll() is not None or time.monotonic() > until:
            last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            raise MissingServerError("MariaDB does not start: " + "".join(last)[-200:])
        time.sleep(0.05)
