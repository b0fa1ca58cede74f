"""Signatures of bundles by OpenSSH (`ssh-keygen -Y`): no new software on a dialer's host.

What is signed is SHA256SUMS, which names every other file.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quietdial.agents.bundle.errors import BundleError

NAMESPACE: Final = "quietdial-bundle"
"""The signature's purpose: a signature made for anything else is refused."""

_MAX_SIGNATURE: Final = 16 * 1024


def sign(sums: bytes, key: Path) -> bytes:
    """Sign the bytes of SHA256SUMS.

    Args:
        sums: what to sign.
        key: a private key of OpenSSH, or a public one whose private key the agent holds.

    Raises:
        BundleError: there is no ssh-keygen, or it refuses the key.
    """
    done = _ssh_keygen(["-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key)], sums)
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise BundleError(f"{key}: ssh-keygen cannot sign with it: {_reason(done)}")
    return done.stdout


def verified_signer(sums: bytes, signature: bytes, signers: Path) -> str:
    """Who signed, by a file of allowed signers (ssh-keygen(1), ALLOWED SIGNERS).

    Raises:
        BundleError: nobody of the file did, or the signature does not fit the bytes.
    """
    if not signers.is_file():
        raise BundleError(f"{signers}: there is no such file of allowed signers")
    with _written(signature) as path:
        found = _ssh_keygen(["-Y", "find-principals", "-s", path, "-f", str(signers)], b"")
        who = found.stdout.decode("utf-8", "replace").splitlines()
        if found.returncode != 0 or not who:
            raise BundleError("SHA256SUMS.sig: signed by nobody who is allowed, or damaged")
        arguments = ["-f", str(signers), "-I", who[0], "-n", NAMESPACE, "-s", path]
        done = _ssh_keygen(["-Y", "verify", *arguments], sums)
    if done.returncode != 0:
        raise BundleError(f"SHA256SUMS.sig: does not fit the bundle: {_reason(done)}")
    return who[0]


def check_whole(sums: bytes, signature: bytes) -> None:
    """Refuse a signature that does not fit the bytes, whoever made it (`BundleError`)."""
    with _written(signature) as path:
        done = _ssh_keygen(["-Y", "check-novalidate", "-n", NAMESPACE, "-s", path], sums)
    if done.returncode != 0:
        raise BundleError(f"SHA256SUMS.sig: does not fit the bundle: {_reason(done)}")


@contextlib.contextmanager
def _written(signature: bytes) -> Iterator[str]:
    """The signature as a file, which ssh-keygen needs."""
    if len(signature) > _MAX_SIGNATURE:
        raise BundleError("SHA256SUMS.sig: larger than a signature")
    with tempfile.NamedTemporaryFile(suffix=".sig") as stream:
        stream.write(signature)
        stream.flush()
        yield stream.name


def _ssh_keygen(arguments: list[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603  # arguments are paths, no shell
            ["ssh-keygen", *arguments],  # noqa: S607  # wherever OpenSSH is installed
            input=given,
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BundleError(f"ssh-keygen cannot be run: {type(error).__name__}") from None


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode("utf-8", "replace").split("\n")
    return " ".join(lines[0].split())[:200] or f"exit code {done.returncode}"
