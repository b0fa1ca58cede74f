"""Processes to kill: forked from one that has loaded the libraries, one after the other.

Run as a program, this module reads lists of arguments of `quietdial`, one JSON list a line, and
writes ``began PID`` and ``ended PID CODE``, where the code is the exit code or minus the signal.
:class:`Nursery` is the other side. See kill_storm.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from quietdial.envs.errors import QuietDialError
from quietdial.experiments.rundir import LOCK


class Process:
    """A run's process: the child of a nursery."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None
        self._nursery = nursery

    def wait_until_open(self, run: Path) -> float:
        """Wait until it works in the run folder, or has ended; when that was [s]."""
        mine = f"process {self.pid} ".encode()
        while not self._nursery.ended(self):
            try:
                if (run / LOCK).read_bytes().startswith(mine):
                    break
            except OSError:
                pass  # not there yet
            time.sleep(0.002)
        return time.monotonic()

    def end(self, number: int) -> int:
        """Send a signal, unless it has ended, and wait; the exit code, or minus a signal."""
        if not self._nursery.ended(self):
            os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit code, or minus the signal that ended it."""
        while not self._nursery.ended(self):
            time.sleep(0.002)
        return self.code if self.code is not None else -1


class Nursery:
    """A process with all libraries loaded that forks runs, one after the other."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "quietdial.experiments.studies.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self._ended: dict[int, int] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._lines: list[int] = []
        self._told = threading.Condition()
        self._reader.start()

    def _read(self) -> None:
        for line in self._server.stdout or ():
            word, number, *code = line.split()
            with self._told:
                if word == "ended":
                    self._ended[int(number)] = int(code[0])
                else:
                    self._lines.append(int(number))
                self._told.notify_all()

    def start(self, arguments: Sequence[str]) -> Process:
        """Run `quietdial` with these arguments."""
        if self._server.stdin is None:
            raise QuietDialError("the nursery has no input")
        self._server.stdin.write(json.dumps(list(arguments)) + "\n")
        with self._told:
            if not self._told.wait_for(lambda: self._lines, timeout=300):
                raise QuietDialError("the nursery does not answer")
            return Process(self, self._lines.pop())

    def ended(self, process: Process) -> bool:
        """Whether a process has ended; its code is known then."""
        with self._told:
            process.code = self._ended.get(process.pid)
        if process.code is None and self._server.poll() is not None:
            raise QuietDialError("the nursery has ended")
        return process.code is not None

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server.stdin is not None:
            self._server.stdin.close()
        self._server.wait()
        self._reader.join()
        if self._server.stdout is not None:
            self._server.stdout.close()


def serve() -> None:
    """Answer lines until there are no more."""
    import torch.utils.tensorboard  # noqa: F401  # loaded for the children

    import quietdial.experiments.reproduce  # noqa: F401
    from quietdial.envs.pacing.vector_env import PacingVectorEnv
    from quietdial.experiments.cli import main

    PacingVectorEnv(1, "study-real-5").reset(seed=1)  # loads the compiled kernel
    for line in sys.stdin:
        arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1):
                os.dup2(nowhere, descriptor)
            code = 1
            try:
                code = main(arguments)
            finally:
                os._exit(code)
        sys.stdout.write(f"began {pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"ended {pid} {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
