"""A sidecar as a process of its own, to be killed, frozen, put out of time and started again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from quietdial.agents.serve.client import Floor

JUMP_S: Final = 3600.0
"""What one signal puts the server's wall clock forward or back by."""

_START_S: Final = 60.0

_MAIN: Final = f"""
import signal, sys, time
real, ahead = time.time, [0.0]
time.time = lambda: real() + ahead[0]
def forward(*_): ahead[0] += {JUMP_S}
def back(*_): ahead[0] -= {JUMP_S}
signal.signal(signal.SIGUSR1, forward)
signal.signal(signal.SIGUSR2, back)
from quietdial.agents.serve.__main__ import main
sys.exit(main())
"""
"""The sidecar with a wall clock that signals can move; else it is what `quietdial serve` runs."""


class Sidecars:
    """One sidecar after the other at the same place.

    Args:
        folder: where its socket and its log go.
        bundle: what it serves.
        flags: more flags of `quietdial serve`.
        port: TCP port of its HTTP interface on loopback; 0: none.
    """

    def __init__(
        self, folder: Path, bundle: Path, flags: Sequence[str] = (), port: int = 0
    ) -> None:
        self.socket = folder / "sidecar.sock"
        self.log = folder / "sidecar.log"
        self.port = port
        self._bundle, self._flags = bundle, tuple(flags)
        self._process: subprocess.Popen[bytes] | None = None
        self.starts_s: list[float] = []
        self.crashes = 0

    @property
    def pid(self) -> int:
        """Number of the process; an error if there is none."""
        if self._process is None:
            raise RuntimeError("no sidecar was started")
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start one; returns when it answers, if `wait`."""
        command = [sys.executable, "-c", _MAIN, str(self._bundle), "--unsigned"]
        command += ["--cold-start", "0"]  # so that the policy is asked at once after every start
        command += ["--socket", str(self.socket), *self._flags]
        if self.port:
            command += ["--http", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        begin_s = time.monotonic()
        if wait:
            self.wait()
            self.starts_s.append(time.monotonic() - begin_s)

    def wait(self) -> None:
        """Wait until it answers (`RuntimeError`: it ends, or does not answer in a minute)."""
        end_s = time.monotonic() + _START_S
        while time.monotonic() < end_s:
            if not self.alive():
                raise RuntimeError(f"the sidecar did not start: {self.last_line()}")
            with contextlib.suppress(OSError, ValueError):
                if self.get("/healthz")[0] == 200:
                    return
            time.sleep(0.02)
        raise RuntimeError("the sidecar did not answer in a minute")

    def alive(self) -> bool:
        """Whether it runs (or is frozen)."""
        return self._process is not None and self._process.poll() is None

    def count_crash(self) -> None:
        """Count it as a crash if it has ended by itself, and start another one."""
        if not self.alive():
            self.crashes += 1
            self.start(wait=False)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it at once, as the system would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> int:
        """Ask it to end; returns its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def last_line(self) -> str:
        """End of its log."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "no log"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET over the Unix socket."""
        return self.request("GET", path)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, bytes]:
        """Status and body of an HTTP request over the Unix socket."""
        connection = unix_http(self.socket)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """A metric by its name with labels, as it stands in the page (0: not there)."""
        for line in self.get("/metrics")[1].decode().splitlines():
            key, _, value = line.rpartition(" ")
            if key == name:
                return float(value)
        return 0.0

    def memory_bytes(self) -> int:
        """Resident memory."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def unix_http(path: Path, timeout_s: float = 10.0) -> http.client.HTTPConnection:
    """An HTTP connection over a Unix socket (`OSError`: nobody listens)."""
    connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(timeout_s)
    try:
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    connection.sock = made
    return connection


def free_port() -> int:
    """A TCP port of loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def running(bundle: Path, flags: Sequence[str] = (), *, port: int = 0) -> Iterator[Sidecars]:
    """A sidecar in a folder of its own, ended at the end of the context."""
    with tempfile.TemporaryDirectory(prefix="quietdial-") as folder:
        made = Sidecars(Path(folder), bundle, flags, port)
        try:
            made.start()
            yield made
        finally:
            made.end()


def example_features(bundle: Path) -> dict[str, float]:
    """Features within the range of a bundle: a quarter up, where that is within."""
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return {
        feature["name"]: min(max(0.25, feature["low"]), feature["high"])
        for feature in manifest["contract"]["features"]
    }


def example_ask(features: Mapping[str, float], campaign: str = "it-1", seq: int = 1) -> bytes:
    """A well-formed request, one line."""
    floor = Floor(idle=3, in_flight=1, waiting=0)._asdict()
    ask = {"campaign": campaign, "seq": seq, "observed_at": time.time(), "features": dict(features)}
    ask |= {name: value for name, value in floor.items() if value is not None}
    return json.dumps(ask, separators=(",", ":")).encode() + b"\n"
