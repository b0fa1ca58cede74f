"""A Ray cluster of several nodes on this machine, whose nodes can be lost: for tests and proofs.

A node is a raylet with its own processes. It is lost as a machine is: the raylet and all processes
under it are killed at once. Killing the raylet alone would leave its workers at work.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from quietdial.experiments.ray_cluster import STORE_BYTES

from ray.cluster_utils import Cluster  # isort: skip  # after what Ray reads when it is imported

_HEALTH: Final = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 8,
}
"""How soon the head counts a silent node as lost: after four to twenty seconds."""


class LocalCluster:
    """A head without CPUs and worker nodes of one CPU each; a context manager.

    Attributes:
        address: of the head, for `--ray-address`.
    """

    def __init__(self, n_workers: int = 2) -> None:
        self._n_workers = n_workers
        self._nodes: list[Any] = []

    def __enter__(self) -> Self:
        """Start the nodes."""
        self._folder = tempfile.mkdtemp(prefix="qd-ray-")
        self._before = os.environ.get("RAY_TMPDIR")
        os.environ["RAY_TMPDIR"] = self._folder
        Path(self._folder, "ray").mkdir()
        head = {
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_system_config": dict(_HEALTH),
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self._cluster.address)
        for _ in range(self._n_workers):
            self.add_node()
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes, whatever state they are in."""
        roots = [node.all_processes["raylet"][0].process.pid for node in self._nodes]
        left = [pid for root in roots for pid in process_tree(root)]
        try:
            self._cluster.shutdown()  # type: ignore[no-untyped-call]
        finally:
            kill(left)
            if self._before is None:
                os.environ.pop("RAY_TMPDIR", None)
            else:
                os.environ["RAY_TMPDIR"] = self._before
            shutil.rmtree(self._folder, ignore_errors=True)

    def add_node(self) -> None:
        """Start one more worker node."""
        self._nodes.append(self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))

    def lose_node_of(self, pid: int) -> int:
        """Kill the node that a process runs on, with everything on it.

        Returns:
            Number of processes killed; 0 if the process runs on no node (any more).
        """
        for node in list(self._nodes):
            tree = process_tree(node.all_processes["raylet"][0].process.pid)
            if pid in tree:
                kill(tree)
                self._nodes.remove(node)
                return len(tree)
        return 0


def process_tree(root: int) -> list[int]:
    """A process and all processes under it, by their numbers; the root first."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="],  # noqa: S607  the system's own
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()]
    tree = [root]
    for parent in tree:
        tree += [pid for pid, its in parents if its == parent]
    return tree


def kill(pids: list[int]) -> None:
    """Kill processes at once; those that are gone already do not matter."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
