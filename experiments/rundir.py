"""The folder of one run: what was asked for, what it ran on, and what came out.

A run folder holds `config.yaml` (complete, all defaults written), `manifest.json` (versions,
commit, seeds, command line, times, status) and what the run writes beside them (`scenario.yaml`,
`train.jsonl`, TensorBoard's event file, `checkpoints/`, `evaluation.*`, `verdict.md`, `export/`).
Whole files are replaced at once; rows of a `.jsonl` file are appended one by one and are on disk
when the call returns, so an interrupted run loses nothing that was logged.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self, get_args

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
    ) -> Self:
        """Make `root/name` with its `config.yaml` and `manifest.json`, or open it again.

        Args:
            root: Folder of all runs; made if missing.
            name: Name of the run; None for the time in UTC and the scenario's name.
            config: The complete configuration, plain values only.
            resume: Open the folder of an earlier run with the same configuration.
            seeds: The run's seeds by purpose, for the manifest.
            command: The command line, for the manifest; None for this process's own.

        Raises:
            ConfigError: The name is not allowed, or a run is resumed with another configuration.
            RunFolderError: The folder is in use, missing (resume), or cannot be written.
        """
        root = Path(root)
        values = plain(config)
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigError(
                f"run name is {name!r}, allowed are up to 100 letters, digits, '.', '_' and '-', "
                "the first one a letter or a digit"
            )
        if resume:
            if name is None:
                raise ConfigError("a run is resumed by its name; give the name of its folder")
            folder = cls._open(root / name, values)
        else:
            folder = cls(cls._claim(root, name, _label(config)))
        folder._start(values, seeds or {}, list(sys.argv if command is None else command))
        return folder

    @staticmethod
    def _claim(root: Path, name: str | None, label: str) -> Path:
        """Make an empty folder that no other run has, and say in one line why if that fails."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        base = name or f"{stamp}-{label}"
        path = root / base
        try:
            root.mkdir(parents=True, exist_ok=True)
            for attempt in range(2, 1000):
                try:
                    path.mkdir()
                    return path
                except FileExistsError:
                    if name is not None:
                        break
                    path = root / f"{base}-{attempt}"
            if path.is_dir() and not any(path.iterdir()):
                return path
        except OSError as error:
            raise RunFolderError(
                f"cannot create the run folder {str(path)!r}: {_reason(error)}; "
                "choose a folder that you may write to"
            ) from error
        raise RunFolderError(
            f"the run folder {str(path)!r} exists and is not empty; "
            "give another name or remove the folder"
        )

    @classmethod
    def _open(cls, path: Path, config: dict[str, Any]) -> Self:
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
        difference = first_difference(manifest["config"], config)
        if difference is not None:
            raise ConfigError(
                f"cannot resume {str(path)!r} with another configuration: {difference}; "
                "give a new name, or the configuration in its config.yaml"
            )
        return cls(path, manifest)

    def _start(self, config: dict[str, Any], seeds: Mapping[str, Any], command: list[str]) -> None:
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
            "name": self.path.name,
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
        if results:
            self.manifest["results"] = {**self.manifest.get("results", {}), **plain(results)}
        self._write_manifest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.manifest["status"] != "running":
            return
        if kind is None:
            self.finish("finished")
        else:
            self.finish("interrupted" if issubclass(kind, KeyboardInterrupt) else "failed")
