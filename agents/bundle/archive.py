"""The files of a bundle, from a folder or from one archive, before anything is parsed.

The archive is a zip without compression in one allowed form: what :func:`archive_bytes` makes of
the files. So an archive is the same bytes everywhere, and none can hide anything.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from quietdial.agents.bundle.errors import BundleError

MANIFEST, SUMS, SIGNATURE = "manifest.json", "SHA256SUMS", "SHA256SUMS.sig"

MAX_TOTAL: Final = 64 * 1024 * 1024
"""Largest bundle, all files together, bytes."""

MAX_MANIFEST: Final = 1024 * 1024

MAX_FILES: Final = 32

_NO_ZIP: Final = (
    zipfile.BadZipFile,
    struct.error,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
)
"""What zipfile raises on bytes that are no zip, or a damaged one."""

_DATE: Final = (1980, 1, 1, 0, 0, 0)


def archive_bytes(files: Mapping[str, bytes]) -> bytes:
    """The one archive of these files: names sorted, nothing compressed, no times."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def read_files(path: Path) -> dict[str, bytes]:
    """All files of a bundle by name; nothing is written, followed or unpacked.

    Args:
        path: a folder, or an archive made by :func:`archive_bytes`.

    Raises:
        BundleError: it holds a link, a subfolder, too many or too large files, or is neither.
    """
    try:
        mode = os.lstat(path).st_mode if path.name else os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return _folder(path)
        if stat.S_ISREG(mode):
            return _archive(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from None
    raise BundleError(f"{path}: is neither a folder nor an archive; a link is not followed")


def _folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    room = MAX_TOTAL
    with os.scandir(path) as entries:
        names = []
        for entry in entries:
            names.append(entry.name)
            if len(names) > MAX_FILES:
                raise BundleError(f"{path}: holds more than {MAX_FILES} files")
    for name in sorted(names):
        files[name] = _plain_file(path / name, room)
        room -= len(files[name])
    return files


def _plain_file(path: Path, room: int) -> bytes:
    name = repr(path.name)[:80]
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError(f"{name}: is not a plain file")
            with open(descriptor, "rb", closefd=False) as stream:
                data = stream.read(room + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BundleError(f"{name}: cannot be read: {reason}") from None
    if len(data) > room:
        raise BundleError(f"{name}: the bundle exceeds the {MAX_TOTAL} bytes allowed")
    return data


def _archive(path: Path) -> dict[str, bytes]:
    data = _plain_file(path, MAX_TOTAL)
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_FILES:
                raise BundleError(f"{path}: holds more than {MAX_FILES} files")
            room = len(data)
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > room:
                    raise BundleError(f"{path}: is compressed, or larger inside than outside")
                room -= entry.file_size
                files[entry.filename] = archive.read(entry)
    except _NO_ZIP:
        raise BundleError(f"{path}: is not a bundle's archive, or damaged") from None
    try:
        same = archive_bytes(files) == data
    except (ValueError, UnicodeError):
        same = False
    if not same:
        raise BundleError(f"{path}: is not in the one form that a bundle's archive has")
    return files
