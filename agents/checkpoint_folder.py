"""Folders of checkpoints: written whole or not at all, verified before a parser sees them.

``step-<n>/`` holds some files and ``manifest.json`` with the size and sha256 of each. A folder is
written under another name, synced and renamed, so what has its name is whole, whatever happened
while it was written; what a killed process left has a name that ends in ``.tmp``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from quietdial.envs.errors import CheckpointError, RunFolderError
from quietdial.envs.loading import write_synced

FORMAT: Final = "quietdial-checkpoint/1"

MANIFEST: Final = "manifest.json"
"""Name of the file that lists the others of a checkpoint."""

_STEP_NAME: Final = re.compile(r"step-(\d{1,15})\Z")


def checkpoints_in(root: Path) -> list[tuple[int, Path]]:
    """Steps and folders of the checkpoints in a folder, newest first; none without the folder."""
    if not root.is_dir():
        return []
    steps = [
        (int(match.group(1)), entry)
        for entry in root.iterdir()
        if (match := _STEP_NAME.fullmatch(entry.name)) and entry.is_dir()
    ]
    return sorted(steps, reverse=True)


def latest_checkpoint(root: Path) -> Path:
    """The checkpoint with the most steps in a folder of checkpoints.

    Raises:
        CheckpointError: there is none.
    """
    steps = checkpoints_in(root)
    if not steps:
        raise CheckpointError(f"{root}: holds no checkpoint (a folder named step-<number>)")
    return steps[0][1]


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a checkpoint in one step, in place of an earlier one of the same name.

    Args:
        target: ``root/step-<n>``; the root is made when missing.
        files: contents by name; the manifest is added.

    Raises:
        RunFolderError: it cannot be written; nothing is left of it then.
    """
    manifest = {
        "format": FORMAT,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
    }
    root = target.parent
    temporary = _temporary(target)
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir()
            for name, data in {**files, MANIFEST: json_bytes(manifest)}.items():
                write_synced(temporary / name, data)
            _sync_folder(temporary)
            if target.exists():  # the same step again: out of the way, then in one step
                target.rename(_temporary(target))
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(root)
        clear_stale(root)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RunFolderError(f"checkpoint {target} cannot be written: {reason}") from error


def clear_stale(root: Path) -> None:
    """Delete what a killed process left half written or half deleted in a folder of checkpoints."""
    for stale in root.glob(".step-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)


def read_files(path: Path, names: Collection[str], limit: int) -> dict[str, bytes]:
    """Read files of a checkpoint; their sizes and hashes must be those of the manifest.

    Args:
        path: the folder.
        names: what is read; must be there.
        limit: most bytes in all.

    Raises:
        CheckpointError: one line on the file that is missing, damaged, too large or a link.
    """
    listed = listed_files(path)
    absent = sorted(set(names) - set(listed))
    if absent:
        raise CheckpointError(f"{path}: holds no {', '.join(absent)}")
    files: dict[str, bytes] = {}
    try:
        for name in sorted(names):
            data = _read_bytes(path / name, limit - sum(map(len, files.values())))
            digest = hashlib.sha256(data).hexdigest()
            if listed[name] != {"bytes": len(data), "sha256": digest}:
                raise CheckpointError(
                    f"{path / name}: damaged or changed: its sha256 {digest[:12]}... is not the "
                    f"one in {MANIFEST}"
                )
            files[name] = data
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read: {reason}") from error
    return files


def listed_files(path: Path) -> dict[str, Any]:
    """What the manifest of a checkpoint lists, by name; other files may not be in the folder.

    A file that is listed may be gone: `read_files` says so when it is asked for.

    Raises:
        CheckpointError: no folder, no manifest, not one of ours, or a file too many.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path}: is not a folder; give a folder step-<number>")
    try:
        data = _read_bytes(path / MANIFEST, 1 << 20)
        manifest = read_json(data, path / MANIFEST)
        listed = manifest.get("files")
        if manifest.get("format") != FORMAT or not isinstance(listed, dict):
            raise CheckpointError(f"{path / MANIFEST}: is not a manifest of format {FORMAT!r}")
        if json_bytes(manifest) != data or len(manifest) != 2:
            raise CheckpointError(f"{path / MANIFEST}: damaged or changed")
        found = {entry.name for entry in path.iterdir()} - {MANIFEST}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read: {reason}") from error
    if not found <= listed.keys():
        raise CheckpointError(
            f"{path}: holds {sorted(found)} and lists {sorted(listed)}; nothing else may be there"
        )
    return listed


def prune(
    root: Path,
    newest: int,
    *,
    keep: int,
    large: Collection[str],
    keep_large: int,
    regular: Callable[[int], bool],
) -> None:
    """Delete old checkpoints, and large files of those that stay.

    Of the regular ones up to the step `newest` the last `keep` stay; others stay only while they
    are among the last `keep_large` that have large files, or are `newest` itself. Later ones are
    of a training that went on from an earlier step: they go.

    Args:
        root: the folder of checkpoints.
        newest: step of the one that was written last.
        keep: how many regular ones stay, at least 1; that of step 0, if regular, stays besides.
        large: names of files that only the newest need.
        keep_large: how many checkpoints keep these files.
        regular: whether a checkpoint of a step is one that would be written without interruption.
    """
    steps = checkpoints_in(root)
    past = [(step, path) for step, path in steps if step <= newest]
    stays = [step for step, _ in past if step > 0 and regular(step)][: max(keep, 1)]
    if regular(0):
        stays.append(0)
    full = [step for step, path in past if all((path / name).exists() for name in large)]
    full = full[:keep_large]
    for step, path in steps:
        if step != newest and step not in stays and step not in full:
            discarded = _temporary(path)
            path.rename(discarded)
            shutil.rmtree(discarded, ignore_errors=True)
        elif step not in full:
            for name in large:
                (path / name).unlink(missing_ok=True)


def read_json(data: bytes, path: Path) -> dict[str, Any]:
    """A JSON object; `path` is named in the error."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: is not valid JSON") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: must hold a JSON object")
    return value


def json_bytes(data: object) -> bytes:
    """Plain values as JSON with sorted keys; numbers come back exactly."""
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _read_bytes(path: Path, limit: int) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{path}: is missing or not a plain file")
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise CheckpointError(f"{path}: larger than the {limit} bytes allowed")
    return data


def _temporary(target: Path) -> Path:
    return target.parent / f".{target.name}.{secrets.token_hex(6)}.tmp"


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
