"""Compilation of the kernel, with a cache on disk that never serves an old kernel.

numba caches every function by the text of its own file only, so a caller would keep an outdated
copy of a callee that lives in another file. Here the cache folder carries the hash of all files
that are compiled together: any change of any of them starts a new one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numba
from numba.core import config

_Function = Callable[..., Any]
"""numba infers the types of what it compiles, so none are declared."""


def _fingerprint() -> str:
    """Hash of every source file of this folder, and of the law tables' shape (laws.py)."""
    here = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted([*here.rglob("*.py"), here.parent / "laws.py"]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> str:
    """A writable folder for this version of the kernel: the user's choice, in place, or at home."""
    name = f"quietdial-{_fingerprint()}"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    roots = [chosen] if chosen else []
    roots += [str(Path(__file__).parent / "__pycache__"), "~/.cache/quietdial"]
    for root in roots:
        try:
            folder = Path(root).expanduser() / name
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except (OSError, RuntimeError):  # not writable, or nobody's home
            continue
        return str(folder)
    return tempfile.mkdtemp(prefix="quietdial-")


_FOLDER = _cache_folder()


_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def compiled(*, inline: Literal["never", "always"] = "never") -> Callable[[_Function], _Function]:
    """Decorator: compile in nopython mode, release the GIL, cache on disk, IEEE division.

    `inline="always"` copies the machine code into the caller. A call that stays hands over every
    array of state and parameters in some hundred words, which costs more than most events do, so
    everything on the way of an event is inlined. Arrays are not reference-counted (`_nrt`): no
    compiled function allocates, and the caller in Python holds what it passes.
    """

    def decorate(function: _Function) -> _Function:
        settings: Any = config  # numba sets its attributes at run time
        before = settings.CACHE_DIR
        settings.CACHE_DIR = _FOLDER
        try:
            compile_with = numba.njit(forceinline=inline == "always", **_OPTIONS)
            made: _Function = compile_with(function)
        finally:
            settings.CACHE_DIR = before
        return made

    return decorate
