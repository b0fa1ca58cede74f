"""Work on Ray: a session on this machine or on a cluster, and an executor of small jobs there.

Ray sends code and values between its processes by pickle, and whoever reaches the port of a cluster
can run code on it: use machines and a network that you trust. A session of this machine listens on
127.0.0.1 only. Usage statistics and the dashboard are off.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from quietdial.envs.errors import ConfigError, MissingExtraError
from quietdial.experiments.executors import Key, Outcome, Plain, Work, one_line

_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
}
"""No telemetry; work where we are; only our own files; Ctrl-C is ours; time for a checkpoint."""

_PATIENCE_S: Final = 5.0

STORE_BYTES: Final = 100 * 1024 * 1024
"""Memory that Ray may take for values; ours are small."""

os.environ.update(_QUIET)  # Ray reads some of them when it is imported
try:
    import ray
    from ray.exceptions import (
        NodeDiedError,
        ObjectLostError,
        OutOfMemoryError,
        OwnerDiedError,
        RayError,
        RayTaskError,
        WorkerCrashedError,
    )
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("ray", "sweep", "work on Ray") from error

_LOST: Final = (
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    OwnerDiedError,
)


@contextmanager
def ray_session(address: str | None, cpus: int) -> Iterator[None]:
    """Ray within the context: a cluster, or processes of this machine that end with it.

    Args:
        address: of the head of a cluster, such as 10.0.0.5:6379; None: this machine.
        cpus: jobs of one thread at the same time on this machine.

    Raises:
        ConfigError: no cluster answers there.
    """
    if ray.is_initialized():
        raise ConfigError("Ray is in use in this process already; end that session first")
    folder: str | None = None
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {**_QUIET, "OMP_NUM_THREADS": "1"}},
    }
    if address is not None:
        _check_answers(address)
        options |= {"address": address}
    else:
        folder = tempfile.mkdtemp(prefix="qd-ray-")
        options |= {
            "address": "local",
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": folder,
        }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Ray's, on its own defaults
            try:
                ray.init(**options)
            except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
                where = "this machine" if address is None else repr(address)
                raise ConfigError(f"no Ray cluster at {where}: {one_line(error)}") from None
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _check_answers(address: str) -> None:
    """Ask at once whether anything listens there; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()):
        raise ConfigError(f"ray-address = {address!r} must be HOST:PORT, such as 10.0.0.5:6379")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"no Ray cluster at {address!r} ({error}); start one with: ray start --head"
        ) from None


def slots_of_cluster() -> int:
    """Jobs of one CPU that the cluster holds at the same time, at least 1."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(int(resources.get("CPU", 1.0)), 1)


class RayExecutor:
    """Does jobs as tasks of one CPU in the Ray session of this process (see `executors.Executor`).

    A job whose worker or node died counts as lost, so `run_all` starts it again elsewhere.
    """

    def __init__(self, work: Work) -> None:
        self._task = ray.remote(num_cpus=1, max_retries=0)(work)
        self._running: dict[Any, Key] = {}

    @property
    def slots(self) -> int:
        """CPUs of the cluster as it is now."""
        return slots_of_cluster()

    def submit(self, key: Key, spec: Mapping[str, Any], needed: Plain | None) -> None:
        """Hand a job to the cluster."""
        self._running[self._task.remote(dict(spec), needed)] = key

    def finished(self) -> list[Outcome]:
        """Wait for the next jobs to end."""
        done, _ = ray.wait(list(self._running), num_returns=1)
        return [self._outcome(self._running.pop(reference), reference) for reference in done]

    @staticmethod
    def _outcome(key: Key, reference: Any) -> Outcome:
        try:
            return Outcome(key, ray.get(reference))
        except _LOST as error:
            return Outcome(key, None, f"a worker or its node died ({type(error).__name__})", True)
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            return Outcome(key, None, one_line(cause))
        except RayError as error:
            return Outcome(key, None, one_line(error), lost=True)

    def close(self) -> None:
        """End all jobs at once."""
        for reference in self._running:
            ray.cancel(reference, force=True)
        self._running.clear()


@contextmanager
def on_ray(address: str | None, number: int, work: Work) -> Iterator[RayExecutor]:
    """An executor in a Ray session of its own.

    Args:
        address: of the head of a cluster; None: this machine.
        number: jobs at the same time on this machine.
        work: does one job.
    """
    with ray_session(address, number):
        yield RayExecutor(work)


def sweep_away(folder: Path, pattern: str) -> None:
    """Delete folders of Ray that a killed session left behind."""
    for left in folder.glob(pattern):
        shutil.rmtree(left, ignore_errors=True)
