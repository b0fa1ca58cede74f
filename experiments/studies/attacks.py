"""What can happen to a bundle: an attack takes the files of a good one and writes a bad one.

Here are the damages and tricks with files and archives; forgeries.py has those with all hashes made
to fit.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from quietdial.agents.bundle.archive import SIGNATURE, archive_bytes

Files = dict[str, bytes]
Dice = np.random.Generator


class Attack(NamedTuple):
    """One way to spoil a bundle.

    Attributes:
        name: what is done.
        write: write the bad bundle of these files to a path that does not exist yet.
    """

    name: str
    write: Callable[[Files, Path, Dice], None]


def write_folder(files: Files, path: Path) -> None:
    """Write files as a folder, whatever their names are."""
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)


# --------------------------------------------------------------------------- damages


def _pick(files: Files, dice: Dice) -> str:
    return str(dice.choice(sorted(files)))


def _damage(name: str, spoil: Callable[[bytes, Dice], bytes]) -> Attack:
    """Spoil one file, in a folder or in the archive as a whole."""

    def write(files: Files, path: Path, dice: Dice) -> None:
        if dice.random() < 0.3:
            good = archive_bytes(files)
            path.write_bytes(changed(good, spoil, dice))
            return
        victim = _pick(files, dice)
        write_folder({**files, victim: changed(files[victim], spoil, dice)}, path)

    return Attack(name, write)


def changed(data: bytes, spoil: Callable[[bytes, Dice], bytes], dice: Dice) -> bytes:
    """Spoil bytes so that they surely differ."""
    for _ in range(100):
        bad = spoil(data, dice)
        if bad != data:
            return bad
    return data + b"\0"


def flip(data: bytes, dice: Dice) -> bytes:
    """One bit flipped."""
    at = int(dice.integers(len(data)))
    return data[:at] + bytes([data[at] ^ 1 << int(dice.integers(8))]) + data[at + 1 :]


def _zeros(data: bytes, dice: Dice) -> bytes:
    at = int(dice.integers(len(data)))
    n = min(int(dice.integers(1, 512)), len(data) - at)
    return data[:at] + bytes(n) + data[at + n :]


def _swap(files: Files, path: Path, dice: Dice) -> None:
    a, b = dice.choice(sorted(files), 2, replace=False)
    write_folder({**files, str(a): files[str(b)], str(b): files[str(a)]}, path)


def _missing(files: Files, path: Path, dice: Dice) -> None:
    # without its signature alone, a bundle is a whole one that nobody signed
    victim = _pick({name: b"" for name in files if name != SIGNATURE}, dice)
    write_folder({name: data for name, data in files.items() if name != victim}, path)


def _extra(files: Files, path: Path, dice: Dice) -> None:
    name = str(dice.choice(["run.sh", ".hidden", "policy.pkl", "x" * 200, "Policy.onnx", "a\nb"]))
    write_folder({**files, name: b"#!/bin/sh\n"}, path)


def _link(files: Files, path: Path, dice: Dice) -> None:
    victim = _pick(files, dice)
    write_folder(files, path)
    outside = path.with_name("outside")
    outside.write_bytes(files[victim])
    (path / victim).unlink()
    (path / victim).symlink_to(outside)


def _link_to_folder(files: Files, path: Path, dice: Dice) -> None:
    inner = path.with_name("inner")
    write_folder(files, inner)
    path.symlink_to(inner, target_is_directory=True)


def _special(files: Files, path: Path, dice: Dice) -> None:
    victim = _pick(files, dice)
    write_folder({name: data for name, data in files.items() if name != victim}, path)
    if dice.random() < 0.5:
        os.mkfifo(path / victim)
    else:
        (path / victim).mkdir()


# --------------------------------------------------------------------------- archives


def _zip(
    entries: list[tuple[zipfile.ZipInfo | str, bytes]], how: int = zipfile.ZIP_STORED
) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return stream.getvalue()


def _paths(files: Files, path: Path, dice: Dice) -> None:
    name = str(
        dice.choice(["../evil", "/etc/evil", "a/../../evil", "C:\\evil", "./policy.onnx", "a/b"])
    )
    path.write_bytes(archive_bytes({**files, name: b"evil"}))


def _zip_link(files: Files, path: Path, dice: Dice) -> None:
    victim = _pick(files, dice)
    link = zipfile.ZipInfo(victim, (1980, 1, 1, 0, 0, 0))
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    others = [(name, data) for name, data in sorted(files.items()) if name != victim]
    path.write_bytes(_zip([(link, b"/etc/passwd"), *others]))


def _zip_compressed(files: Files, path: Path, dice: Dice) -> None:
    path.write_bytes(_zip(sorted(files.items()), zipfile.ZIP_DEFLATED))


def _zip_bomb(files: Files, path: Path, dice: Dice) -> None:
    victim = _pick(files, dice)
    bomb = {**files, victim: bytes(80 * 1024 * 1024)}
    path.write_bytes(_zip(sorted(bomb.items()), zipfile.ZIP_DEFLATED))


def _zip_twice(files: Files, path: Path, dice: Dice) -> None:
    import warnings

    victim = _pick(files, dice)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile says that the name is there already
        path.write_bytes(_zip([*sorted(files.items()), (victim, b"another")]))


def _zip_comment(files: Files, path: Path, dice: Dice) -> None:
    stream = io.BytesIO(archive_bytes(files))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = b"read me"
    path.write_bytes(stream.getvalue())


def _zip_around(files: Files, path: Path, dice: Dice) -> None:
    around = [b"MZ" + bytes(100), b""]
    dice.shuffle(around)
    path.write_bytes(around[0] + archive_bytes(files) + (around[1] or b"tail"))


def _any_text(data: bytes, dice: Dice) -> bytes:
    return bytes(dice.integers(0, 256, size=len(data), dtype=np.uint8))


DAMAGES: Final = (
    _damage("bit flipped", flip),
    _damage("truncated", lambda data, dice: data[: int(dice.integers(len(data)))]),
    _damage("stretch of zeros", _zeros),
    _damage("bytes appended", lambda data, dice: data + bytes(int(dice.integers(1, 100)))),
    _damage("emptied", lambda data, dice: b""),
    _damage("random bytes", _any_text),
    Attack("two files swapped", _swap),
    Attack("file missing", _missing),
    Attack("file added", _extra),
    Attack("file is a link", _link),
    Attack("folder is a link", _link_to_folder),
    Attack("file is a pipe or a folder", _special),
    Attack("archive with paths", _paths),
    Attack("archive with a link", _zip_link),
    Attack("archive compressed", _zip_compressed),
    Attack("archive bomb", _zip_bomb),
    Attack("archive with a name twice", _zip_twice),
    Attack("archive with a comment", _zip_comment),
    Attack("archive with bytes around", _zip_around),
)
"""Of a whole bundle, its signature too."""
