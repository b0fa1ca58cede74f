"""The process: sockets, signals, reloading, giving up rights."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import grp
import logging
import os
import pwd
import resource
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.serve.api import Api
from quietdial.agents.serve.books import Books
from quietdial.agents.serve.connections import Connection, Limits
from quietdial.agents.serve.decider import BundleDecider
from quietdial.agents.serve.errors import ServeError
from quietdial.agents.serve.inference import model_of
from quietdial.agents.serve.secrets import Secrets
from quietdial.agents.serve.service import Service
from quietdial.agents.serve.settings import Settings

log = logging.getLogger("quietdial.serve")

LOOK_S: Final = 1.0
"""How often the bundle's place and the clocks are looked at."""

JUMP_S: Final = 1.0


class Server:
    """A running sidecar.

    Args:
        settings: checked settings.

    Raises:
        ServeError, BundleError: the bundle cannot be served.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._decider = self._load()
        self._model = model_of(self._decider.bundle)
        self.service = Service(
            self._decider, state=settings.state, max_campaigns=settings.max_campaigns
        )
        self.api = Api(self.service, lambda: self._model)
        self._loading: asyncio.Task[None] | None = None
        self._again = False
        self._place = self._look()
        self._secrets: Secrets | None = None
        self._stop = asyncio.Event()

    def _load(self) -> BundleDecider:
        """Load and verify the bundle; its golden vectors are replayed."""
        asked = self._settings
        path = Path(os.path.realpath(asked.bundle))
        bundle = load_bundle(path, signers=asked.signers, unsigned=asked.unsigned)
        return BundleDecider(bundle, asked.cold_start)

    def _look(self) -> tuple[object, ...]:
        """What changes when another bundle is put in the place of this one."""
        path = Path(os.path.realpath(self._settings.bundle))
        for name in ("SHA256SUMS", ""):
            try:
                found = (path / name).stat() if name else path.stat()
            except OSError:
                continue
            return (str(path), found.st_ino, found.st_mtime_ns, found.st_size)
        return (str(path),)

    # --- reloading ------------------------------------------------------------------------------

    def reload(self) -> None:
        """Load the bundle anew beside the one in use; it takes over only if it is right."""
        if self._loading is not None and not self._loading.done():
            self._again = True
            return
        self._loading = asyncio.get_running_loop().create_task(self._reload())

    def _renew(self) -> None:
        """SIGHUP: token, certificate and bundle anew."""
        if self._secrets is not None:
            self._secrets.renew()
        self.reload()

    async def _reload(self) -> None:
        reloads = self.service.metrics.reloads
        _notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        while True:
            self._again = False
            self._place = self._look()
            try:
                decider = await asyncio.to_thread(self._load)
                model = model_of(decider.bundle)
            except (BundleError, ServeError, OSError) as error:
                reloads.add("refused")
                log.error("bundle refused, the old one stays: %s", error)
            else:
                self._decider, self._model = decider, model
                self.service.use(decider)
                reloads.add("ok")
                log.info("bundle %s (%s) in use", decider.name, decider.bundle_id[:12])
            if not self._again:
                break
        _notify("READY=1")

    async def _watch(self) -> None:
        """Look at the bundle's place, the clocks, and tell systemd that we are well."""
        wall_s, steady_s = time.time(), time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            _notify("WATCHDOG=1")
            ahead_s = (time.time() - wall_s) - (time.monotonic() - steady_s)
            wall_s, steady_s = time.time(), time.monotonic()
            if abs(ahead_s) >= JUMP_S:
                self.service.metrics.jumps.add()
                log.warning("the wall clock jumped by %.1f s", ahead_s)
            if self._settings.watch and self._look() != self._place:
                self.reload()

    # --- running --------------------------------------------------------------------------------

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT.

        Args:
            ready: called when all sockets are open.
        """
        loop = asyncio.get_running_loop()
        asked = self._settings
        _allow_files(2 * asked.max_connections + 64)
        servers: list[asyncio.Server] = []
        async with contextlib.AsyncExitStack() as stack:
            if asked.socket is not None:
                path = asked.socket
                opened = _unix_socket(path, asked.socket_group)
                stack.callback(_unlink_if_same, path, path.stat())
                limits = Limits(asked.max_connections, asked.idle_s, None, local_only=False)
                servers.append(
                    await loop.create_unix_server(self._maker(limits, lines=True), sock=opened)
                )
            if asked.http is not None:
                host, port = asked.http
                limits = Limits(asked.max_connections, asked.idle_s, None, local_only=asked.local)
                self._secrets = secrets = Secrets(asked, limits, self.service.metrics)
                servers.append(
                    await loop.create_server(
                        self._maker(limits, lines=False),
                        host,
                        port,
                        ssl=secrets.context,
                        ssl_handshake_timeout=10.0 if asked.tls_cert is not None else None,
                    )
                )
                bound = servers[-1].sockets[0].getsockname()
                log.info("HTTP on %s port %d", bound[0], bound[1])
            if asked.user is not None:
                drop_rights(asked.user)
            if asked.ledger is not None and asked.ledger_key is not None:
                self.service.books = Books(asked.ledger, asked.ledger_key)
                stack.callback(self.service.books.close)
            loop.add_signal_handler(signal.SIGHUP, self._renew)
            for stop in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(stop, self._stop.set)
            watch = loop.create_task(self._watch())
            gc.collect()
            gc.freeze()
            _notify("READY=1")
            log.info("serving %s (%s)", self._decider.name, self._decider.bundle_id[:12])
            ready()
            await self._stop.wait()
            _notify("STOPPING=1")
            watch.cancel()
            for server in servers:
                server.close()

    def _maker(self, limits: Limits, *, lines: bool) -> Callable[[], Connection]:
        return lambda: Connection(self.service, self.api, limits, lines=lines)


def _allow_files(n: int) -> None:
    """Let the process open so many files and sockets, as far as the system's hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < n:
        most = n if hard == resource.RLIM_INFINITY else min(n, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _unix_socket(path: Path, group: str | None) -> socket.socket:
    """A listening socket with mode 0660; one that nobody listens on any more is replaced."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ServeError(f"{path}: is there and no socket; give another path")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)
            except OSError as error:
                raise ServeError(f"{path}: is in use: {error}") from None
            else:
                raise ServeError(f"{path}: another process serves there; stop it first")
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)
    try:
        made.bind(str(path))
        if group is not None:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except (OSError, KeyError) as error:
        made.close()
        raise ServeError(f"{path}: cannot be made: {error}") from None
    finally:
        os.umask(before)
    return made


def _unlink_if_same(path: Path, made: os.stat_result) -> None:
    """Remove our socket, but not one that another process has put in its place."""
    with contextlib.suppress(OSError):
        now = path.lstat()
        if (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino):
            path.unlink()


def drop_rights(user: str) -> None:
    """Become an unprivileged user for good.

    Raises:
        ServeError: there is no such user, it is root, or we may not become it.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ServeError(f"user {user!r}: there is none of that name") from None
    if entry.pw_uid == 0:
        raise ServeError(f"user {user!r}: is root; name an unprivileged user")
    if os.getuid() == entry.pw_uid:
        return
    try:
        os.initgroups(user, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except OSError as error:
        raise ServeError(f"user {user!r}: cannot become it: {error.strerror}") from None
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # no new privileges, by no way


def _notify(*lines: str) -> None:
    """Tell systemd, if it asked to be told (sd_notify)."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto("\n".join(lines).encode(), address)
