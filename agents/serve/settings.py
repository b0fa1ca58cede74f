"""How the sidecar was asked to run, checked before anything is opened."""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from quietdial.agents.serve.errors import ServeError

LEAST_TOKEN: Final = 32
"""Shortest token, characters."""

_MOST_TOKEN: Final = 1024
_MOST_SOCKET_PATH: Final = 100


@dataclass(frozen=True)
class Settings:
    """Settings of a sidecar.

    Attributes:
        bundle: folder, archive, or a link to one.
        signers: file of allowed signers; None only with `unsigned`.
        unsigned: serve a bundle whoever made it.
        socket: Unix socket for JSON lines and HTTP; None: none.
        socket_group: group of the socket; None: that of the process.
        http: host and port for HTTP; None: none.
        local: whether the host is this machine's loopback.
        token: secret that HTTP requests must carry; None: none needed.
        token_file: where it is read again.
        tls_cert: certificate chain (PEM).
        tls_key: its key.
        state: folder with the stop file; None: none.
        ledger: compliance ledger of outcomes and decisions; None: they are kept in memory.
        ledger_key: file of its key.
        user: whom to become after the sockets are open; None: stay.
        watch: reload when another bundle is put in the place of this one.
        cold_start: answered calls before the policy is asked; None: as the bundle says.
        max_connections: of each socket.
        max_campaigns: campaigns with a state.
        idle_s: time from the end of one request to the end of the next [s].
    """

    bundle: Path
    signers: Path | None = None
    unsigned: bool = False
    socket: Path | None = None
    socket_group: str | None = None
    http: tuple[str, int] | None = None
    local: bool = True
    token: bytes | None = None
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    state: Path | None = None
    ledger: Path | None = None
    ledger_key: Path | None = None
    user: str | None = None
    watch: bool = False
    cold_start: int | None = None
    max_connections: int = 512
    max_campaigns: int = 1000
    idle_s: float = 30.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ServeError(f"{message}; see quietdial serve --help")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = _Parser(
        prog="quietdial serve",
        description="Answer a dialer: how many calls now. See docs/serving.md.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("bundle", type=Path, help="folder or archive made by quietdial export, or a link to one")
    add("--socket", type=Path, help="Unix socket for JSON lines and HTTP (mode 0660)")
    add("--socket-group", help="group that may use the socket")
    add("--http", metavar="HOST:PORT", help="HTTP; another host than loopback needs token and TLS")
    add("--signers", type=Path, help="file of allowed signers, as of ssh-keygen")
    add("--unsigned", action="store_true", help="serve a bundle that nobody has signed")
    add("--token-file", type=Path, help="file with the secret that HTTP requests must carry")
    add("--tls-cert", type=Path, help="certificate chain, PEM")
    add("--tls-key", type=Path, help="its private key, PEM")
    add("--state", type=Path, help="folder of the file 'stop', which stops all dialing")
    add("--ledger", type=Path, help="record outcomes and decisions (see quietdial ledger init)")
    add("--ledger-key", type=Path, help="file of its key; else the ledger's name with .key behind")
    add("--user", help="become this user when the sockets are open")
    add("--watch", action="store_true", help="reload when another bundle is put in its place")
    add(
        "--cold-start",
        type=int,
        help="answered calls before the policy is asked",
    )
    add("--max-connections", type=int, default=512, help="of each socket (512)")
    add("--max-campaigns", type=int, default=1000, help="campaigns with a state (1000)")
    add("--idle-s", type=float, default=30.0, help="longest time for a request, seconds (30)")
    return parser


def settings_of(args: Sequence[str]) -> Settings:
    """Read flags.

    Raises:
        ServeError: one line on what is not allowed.
    """
    asked = make_parser().parse_args(args)
    given: dict[str, Any] = {
        name: getattr(asked, name)
        for name in ("bundle", "signers", "unsigned", "socket", "socket_group", "state", "user")
    }
    given |= {"watch": asked.watch, "tls_cert": asked.tls_cert, "tls_key": asked.tls_key}
    given["max_connections"] = _whole(asked.max_connections, "--max-connections", 10_000)
    given["max_campaigns"] = _whole(asked.max_campaigns, "--max-campaigns", 10_000)
    if asked.cold_start is not None:
        given["cold_start"] = _whole(asked.cold_start, "--cold-start", 100_000, least=0)
    if not (math.isfinite(asked.idle_s) and 0.1 <= asked.idle_s <= 3600):
        raise ServeError(f"--idle-s = {asked.idle_s} must be from 0.1 to 3600")
    given["idle_s"] = asked.idle_s
    if asked.socket is None and asked.http is None:
        raise ServeError("nothing to listen on; give --socket PATH, --http HOST:PORT or both")
    if asked.socket is not None and len(os.fsencode(asked.socket)) > _MOST_SOCKET_PATH:
        raise ServeError(f"--socket: the path is longer than {_MOST_SOCKET_PATH} bytes")
    if (asked.signers is None) != asked.unsigned:
        raise ServeError("give --signers FILE, or --unsigned if nobody has signed the bundle")
    if (asked.tls_cert is None) != (asked.tls_key is None):
        raise ServeError("--tls-cert and --tls-key belong together; give both or none")
    if asked.state is not None and not asked.state.is_dir():
        raise ServeError(f"--state {asked.state}: is no folder; make it first")
    if asked.ledger is not None:
        given["ledger"] = asked.ledger
        given["ledger_key"] = asked.ledger_key or Path(f"{asked.ledger}.key")
    if asked.token_file is not None:
        given["token"] = read_token(asked.token_file)
        given["token_file"] = asked.token_file.absolute()
    if asked.http is not None:
        given["http"] = address = _address(asked.http)
        given["local"] = local = is_local(address[0])
        if not local and (asked.token_file is None or asked.tls_cert is None):
            raise ServeError(
                f"--http {asked.http}: can be reached from other machines, so it needs "
                "--token-file, --tls-cert and --tls-key; or use 127.0.0.1"
            )
    return Settings(**given)


def _whole(value: int, name: str, most: int, least: int = 1) -> int:
    if not least <= value <= most:
        raise ServeError(f"{name} = {value} must be from {least} to {most}")
    return value


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ServeError(f"--http {text}: must be HOST:PORT, for instance 127.0.0.1:8090")
    return host, int(port)


def is_local(host: str) -> bool:
    """Whether a host is this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(path: Path) -> bytes:
    """The secret in a file, surrounding white space removed.

    Raises:
        ServeError: it cannot be read, others may read it, or it is too short or too long.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            token = stream.read(_MOST_TOKEN + 1).strip()
    except OSError as error:
        raise ServeError(f"--token-file {path}: cannot be read: {error.strerror}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise ServeError(f"--token-file {path}: others may read or write it; chmod 600 {path}")
    if not LEAST_TOKEN <= len(token) <= _MOST_TOKEN or not token.isascii() or b" " in token:
        raise ServeError(
            f"--token-file {path}: must hold {LEAST_TOKEN} to {_MOST_TOKEN} characters, "
            "for instance from: openssl rand -hex 32"
        )
    return token
