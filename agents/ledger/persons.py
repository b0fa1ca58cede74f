"""Telephone numbers as keyed hashes: the ledger never holds a number, nor the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from quietdial.agents.ledger.errors import LedgerError

LEAST_KEY_BYTES: Final = 32
_MOST_KEY_BYTES = 4096
_NUMBER = re.compile(r"\+?[0-9]{3,20}")
_SEPARATORS = str.maketrans("", "", " -./()\t")


def make_key(path: Path) -> bytes:
    """Write a new random key that only its owner can read; never over an existing file.

    Args:
        path: the file; its folder must exist.

    Returns:
        The key, 32 bytes.

    Raises:
        LedgerError: the file exists or cannot be written.
    """
    key = secrets.token_hex(LEAST_KEY_BYTES).encode()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise LedgerError(f"key {str(path)!r} cannot be made: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(key + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key(path: Path) -> bytes:
    """The key in a file, surrounding white space removed.

    Raises:
        LedgerError: the file is missing, others may read it, or the key is too short or too long.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(_MOST_KEY_BYTES + 1).strip()
    except OSError as error:
        raise LedgerError(f"key {str(path)!r} cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise LedgerError(
            f"key {str(path)!r} can be read by others (mode {stat.S_IMODE(mode):o}); "
            f"run: chmod 600 {path}"
        )
    if not LEAST_KEY_BYTES <= len(key) <= _MOST_KEY_BYTES:
        raise LedgerError(
            f"key {str(path)!r} has {len(key)} bytes; it needs {LEAST_KEY_BYTES} to "
            f"{_MOST_KEY_BYTES}"
        )
    return key


def digits_of(number: str) -> str:
    """A telephone number without separators; a leading 00 becomes +.

    The caller gives all numbers in one form, best with the country code: 02 1234567 and
    +39 02 1234567 are two people to the ledger.

    Raises:
        LedgerError: it has other characters, or fewer than 3 or more than 20 digits. The message
            does not repeat the number.
    """
    plain = number.translate(_SEPARATORS)
    if plain.startswith("00"):
        plain = "+" + plain[2:]
    if not _NUMBER.fullmatch(plain):
        raise LedgerError(
            "a telephone number must have 3 to 20 digits, a leading + and separators allowed "
            f"(got {len(number)} characters)"
        )
    return plain


def person_of(key: bytes, number: str) -> bytes:
    """HMAC-SHA-256 of a number under the key, 32 bytes: who, without saying whom."""
    return keyed(key, b"person", digits_of(number).encode())


def keyed(key: bytes, purpose: bytes, content: bytes) -> bytes:
    """HMAC-SHA-256 for one purpose, so that hashes of different purposes never meet."""
    return hmac.new(key, b"quietdial " + purpose + b"\0" + content, hashlib.sha256).digest()
