"""The folder of one run: what was asked for, what it ran on, and what came out.

A run folder holds `config.yaml` (complete, all defaults written), `manifest.json` (versions,
commit, seeds, command line, times, status) and what the run writes beside them (`scenario.yaml`,
`train.jsonl`, TensorBoard's event file, `checkpoints/`, `evaluation.*`, `verdict.md`, `export/`).
It appears under its name with all that is needed to go on with the run. Whole files are replaced at
once; rows of a `.jsonl` file are appended one by one and are on disk when the call returns, so an
interrupted run loses nothing that was logged. The process at work holds a lock on `run.lock`, which
the system gives back whenever that process ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import numpy as np

from quietdial.envs.errors import ConfigError, RunFolderError
from quietdial.envs.loading import write_json_atomic, write_text_atomic, write_yaml

Status = Literal["running", "finished", "interrupted", "failed"]

MANIFEST_SCHEMA = 1
"""Version of the layout of `manifest.json`."""

RESULT_SCHEMA = "quietdial-result/1"
"""Layout of every file of figures: name, command, commit, machine, seeds, figures."""

PACKAGES = (
    "quietdial",
    "numpy",
    "scipy",
    "numba",
    "gymnasium",
    "pydantic",
    "torch",
    "stable-baselines3",
    "tensorboard",
    "matplotlib",
    "safetensors",
    "onnx",
    "onnxruntime",
)
"""Packages whose versions a manifest records; one that is not installed is left out."""

LOCK: Final = "run.lock"
"""The file that the process at work in a run folder has locked; it says which process."""

_STALE_S: Final = 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_GIT_TIMEOUT_S = 10.0


def plain(value: object) -> Any:
    """`value` as JSON can hold it: numpy becomes Python, NaN and infinities become None."""
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def config_sha256(config: Mapping[str, Any]) -> str:
    """SHA-256 of the configuration as canonical JSON (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(
        config, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def make_folder(path: Path) -> Path:
    """The folder `path`, made if missing; RunFolderError in one line if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot create {str(path)!r}: {_reason(error)}") from error
    return path


def writable_folder(path: Path) -> Path:
    """The folder `path`, made if missing, in which a file can be made: asked before long work.

    Raises:
        RunFolderError: one line on why nothing can be written there.
    """
    make_folder(path)
    probe = path / f".{secrets.token_hex(6)}.tmp"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise RunFolderError(f"cannot write into {str(path)!r}: {_reason(error)}") from error
    return path


def writable_file(path: Path) -> Path:
    """The path of a file that can be written, its folder made if missing (see `writable_folder`).

    Raises:
        RunFolderError: one line on why it cannot be written.
    """
    if path.is_dir():
        raise RunFolderError(f"cannot write {str(path)!r}: it is a folder; give a file")
    writable_folder(path.parent)
    return path


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row to a file of JSON lines; the row is handed to the system when this returns.

    Args:
        path: The file; made if missing.
        row: Values by name; numpy numbers become Python's, NaN and infinities become null.
    """
    line = json.dumps(plain(row), allow_nan=False, ensure_ascii=False) + "\n"
    try:
        with path.open("ab") as file:
            file.write(line.encode())
    except OSError as error:
        raise RunFolderError(f"cannot write {str(path)!r}: {_reason(error)}") from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines; a last row that was cut off in writing is left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RunFolderError(f"cannot read {str(path)!r}: {_reason(error)}") from error
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RunFolderError(f"{str(path)!r}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise RunFolderError(f"{str(path)!r}, line {number}: not a JSON object")
        rows.append(row)
    return rows


def truncate_jsonl(path: Path, before_step: int, key: str = "step") -> int:
    """Drop the rows from a step on, and a half-written last row, before a run is resumed.

    Args:
        path: The file; nothing happens if it is missing.
        before_step: Rows whose `key` is at least this are dropped.
        key: Name of the value that counts the steps.

    Returns:
        Number of rows that stay.
    """
    if not path.exists():
        return 0
    rows = [row for row in read_jsonl(path) if row.get(key, -math.inf) < before_step]
    text = "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
    write_text_atomic(path, text)
    return len(rows)


def at_work(run: Path) -> bool:
    """Whether a process holds the lock of a run folder at this moment."""
    try:
        lock = os.open(run / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def git_state(source: Path) -> dict[str, Any] | None:
    """Commit of the checkout whose root is `source`, and whether tracked files differ from it.

    Returns:
        ``{"commit": str, "dirty": bool}``, or None if `source` is not the root of a git checkout
        with a commit, or git is not installed.
    """
    if not (source / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        # Fixed arguments, no shell; `git` is looked up like any other tool of the user's.
        return subprocess.run(  # noqa: S603
            ["git", "-C", str(source), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_TIMEOUT_S,
        ).stdout

    try:
        commit = git("rev-parse", "--verify", "HEAD").strip()
        return {
            "commit": commit,
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no").strip()),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def package_versions() -> dict[str, str]:
    """Versions of the installed packages among `PACKAGES`."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def changed_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What weights depend on and differs between two starts: ``torch 2.12.0 there, 2.13.0 now``.

    Args:
        before: `run` of an earlier manifest.
        now: `run` of this one.
    """

    def versions(start: Mapping[str, Any]) -> dict[str, str]:
        return {**start.get("packages", {}), "Python": start.get("python", "?")}

    there, here = versions(before), versions(now)
    return [
        f"{name} {there.get(name, 'missing')} there, {here.get(name, 'missing')} now"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]


def machine() -> dict[str, Any]:
    """The processor, operating system and versions that figures were made with."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the name that Python knows must do
    return {
        "cpu": model,
        "cpu_count": os.cpu_count() or 1,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(),
    }


def provenance(command: str) -> dict[str, Any]:
    """Where figures come from: the command, the commit (None outside a checkout), the machine."""
    return {
        "command": command,
        "commit": git_state(Path(__file__).resolve().parents[1]),
        "machine": machine(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "run"


def _label(config: Mapping[str, Any]) -> str:
    """The scenario's name, wherever a configuration holds it, else "run"."""
    for place in (config, config.get("env"), config.get("train")):
        if isinstance(place, Mapping) and isinstance(place.get("scenario"), str):
            return _slug(Path(str(place["scenario"])).stem)
    return "run"


def first_difference(old: object, new: object, place: str = "") -> str | None:
    """Where two configurations differ first: ``train.n_steps: 512 there, 1024 now``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}, key=str):
            inner = f"{place}.{key}" if place else str(key)
            if key not in old or key not in new:
                there = repr(old[key]) if key in old else "missing"
                now = repr(new[key]) if key in new else "missing"
                return f"{inner}: {there} there, {now} now"
            found = first_difference(old[key], new[key], inner)
            if found is not None:
                return found
        return None
    return None if old == new else f"{place}: {old!r} there, {new!r} now"


def _clear_stale(root: Path) -> None:
    """Delete folders that a process was killed in before they had their name."""
    for stale in root.glob(".*.tmp"):
        if stale.is_dir() and time.time() - stale.stat().st_mtime > _STALE_S:
            shutil.rmtree(stale, ignore_errors=True)


@dataclass(slots=True)
class RunFolder:
    """One run's folder; make it with `create`, leave it with `finish` or as a context manager.

    Used as a context manager, the status becomes `finished` at the end, `interrupted` after a
    KeyboardInterrupt and `failed` after any other exception, unless `finish` was called before.

    Attributes:
        path: The folder.
        manifest: What stands in `manifest.json`.
    """

    path: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    _lock: int | None = field(default=None, repr=False, compare=False)

    @classmethod
    def create(
        cls,
        root: str | Path,
        name: str | None,
        config: Mapping[str, Any],
        *,
        resume: bool = False,
        seeds: Mapping[str, Any] | None = None,
        command: Sequence[str] | None = None,
        files: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """Make `root/name` with its `config.yaml` and `manifest.json`, or open it again.

        It is there as a whole or not at all, and other processes are kept out of it until it is
        released.

        Args:
            root: Folder of all runs; made if missing.
            name: Name of the run; None for the time in UTC and the scenario's name.
            config: The complete configuration, plain values only.
            resume: Open the folder of an earlier run with the same configuration.
            seeds: The run's seeds by purpose, for the manifest.
            command: The command line, for the manifest; None for this process's own.
            files: Further YAML files of a new run, their values by path within the folder.

        Raises:
            ConfigError: The name is not allowed, or a run is resumed with another configuration.
            RunFolderError: The folder is in use, missing or finished (resume), or cannot be
                written.
        """
        root = Path(root)
        values = plain(config)
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigError(
                f"run name is {name!r}, allowed are up to 100 letters, digits, '.', '_' and '-', "
                "the first one a letter or a digit"
            )
        started = (values, seeds or {}, list(sys.argv if command is None else command))
        if resume:
            if name is None:
                raise ConfigError("a run is resumed by its name; give the name of its folder")
            folder = cls._open(root / name, values)
            folder._start(name, *started)
            return folder
        try:
            root.mkdir(parents=True, exist_ok=True)
            _clear_stale(root)
            path = root / f".{secrets.token_hex(6)}.tmp"
            path.mkdir()
            folder = cls(path)
            try:
                folder._hold()
                for place, content in (files or {}).items():
                    make_folder((path / place).parent)
                    write_yaml(path / place, content)
                folder._claim(root, name, _label(config), started)
            except BaseException:
                folder.release()
                shutil.rmtree(path, ignore_errors=True)
                raise
        except OSError as error:
            if isinstance(error, RunFolderError):
                raise
            raise RunFolderError(
                f"cannot create the run folder {str(root / (name or ''))!r}: {_reason(error)}; "
                "choose a folder that you may write to"
            ) from error
        return folder

    def _claim(
        self,
        root: Path,
        name: str | None,
        label: str,
        started: tuple[dict[str, Any], Mapping[str, Any], list[str]],
    ) -> None:
        """Give the folder, which is complete but for its manifest, a name that no other run has."""
        base = name or f"{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{label}"
        target = root / base
        for attempt in range(2, 1000):
            self._start(target.name, *started)
            try:
                self.path.rename(target)  # in place of an empty folder, too
            except OSError:
                if name is not None or not target.exists():
                    break
                target = root / f"{base}-{attempt}"
                continue
            self.path = target
            return
        raise RunFolderError(
            f"the run folder {str(target)!r} exists and is not empty; "
            "give another name or remove the folder"
        )

    @classmethod
    def _open(cls, path: Path, config: dict[str, Any]) -> Self:
        folder = cls(path)
        if path.is_dir():
            folder._hold()
        try:
            folder._read(config)
        except BaseException:
            folder.release()
            raise
        return folder

    def _read(self, config: dict[str, Any]) -> None:
        """Take over the manifest of an earlier run with the same configuration."""
        path = self.path
        try:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise RunFolderError(
                f"cannot resume {str(path)!r}: no readable manifest.json ({_reason(error)})"
            ) from error
        except ValueError as error:
            raise RunFolderError(
                f"cannot resume {str(path)!r}: manifest.json is damaged ({error})"
            ) from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("config"), dict):
            raise RunFolderError(f"cannot resume {str(path)!r}: manifest.json is not a run's")
        if manifest.get("status") == "finished":
            raise RunFolderError(
                f"the run {str(path)!r} is finished, there is nothing to resume; judge it again "
                f"with: quietdial evaluate {path}"
            )
        difference = first_difference(manifest["config"], config)
        if difference is not None:
            raise ConfigError(
                f"cannot resume {str(path)!r} with another configuration: {difference}; "
                "give a new name, or the configuration in its config.yaml"
            )
        self.manifest = manifest

    def _hold(self) -> None:
        """Keep other processes out, as long as this one lives or until `release`."""
        try:
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"cannot write into {str(self.path)!r}: {_reason(error)}"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(lock, 200).decode(errors="replace").strip()
            os.close(lock)
            raise RunFolderError(
                f"the run {str(self.path)!r} is in use by {who or 'another process'}; "
                "wait for it or stop it"
            ) from None
        self._lock = lock
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)

    def release(self) -> None:
        """Let other processes into the folder again."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __del__(self) -> None:
        """A folder that nobody has any more is released."""
        self.release()

    def _start(
        self, name: str, config: dict[str, Any], seeds: Mapping[str, Any], command: list[str]
    ) -> None:
        now = _now()
        started = {
            "at": now,
            "command": command,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu_count": os.cpu_count() or 1,
            "packages": package_versions(),
            "git": git_state(Path(__file__).resolve().parents[1]),
        }
        earlier = self.manifest.get("resumed_from", [])
        if "started" in self.manifest:
            earlier = [*earlier, {**self.manifest["run"], "status": self.manifest["status"]}]
        self.manifest = {
            "schema": MANIFEST_SCHEMA,
            "name": name,
            "status": "running",
            "started": self.manifest.get("started", now),
            "finished": None,
            "seeds": plain(seeds),
            "config_sha256": config_sha256(config),
            "config": config,
            "run": started,
            "resumed_from": earlier,
        }
        write_yaml(self.path / "config.yaml", config)
        self._write_manifest()

    def _write_manifest(self) -> None:
        write_json_atomic(self.path / "manifest.json", self.manifest)

    def append_jsonl(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one row to the file `name` of this folder (see `append_jsonl`)."""
        append_jsonl(self.path / name, row)

    def folder(self, name: str) -> Path:
        """The sub-folder `name`, made if missing."""
        return make_folder(self.path / name)

    def finish(self, status: Status, **results: object) -> None:
        """Write how the run ended, and when.

        Args:
            status: `finished`, `interrupted` or `failed`.
            results: Further values for the manifest's `results`, for instance the verdict.
        """
        if status not in get_args(Status) or status == "running":
            raise ConfigError(
                f"status is {status!r}, allowed are 'finished', 'interrupted' and 'failed'"
            )
        self.manifest["status"] = status
        self.manifest["finished"] = _now()
        self.note(**results)

    def note(self, **results: object) -> None:
        """Add values to the manifest's `results`."""
        if results:
            self.manifest["results"] = {**self.manifest.get("results", {}), **plain(results)}
        self._write_manifest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self.manifest["status"] == "running":
                stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
                ended: Status = "interrupted" if stopped else "failed"
                self.finish("finished" if kind is None else ended)
        finally:
            self.release()
