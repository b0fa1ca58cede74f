"""Compilation of the kernel, with a cache on disk that never serves an old kernel.

numba caches every function by the text of its own file only, so a caller would keep an outdated
copy of a callee that lives in another file. Here the cache folder carries the hash of all files
that are compiled together: any change of any of them starts a new one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numba
from numba.core import config, types

_Function = Callable[..., Any]
"""numba infers the types of what it compiles, so none are declared."""


_HERE = Path(__file__).parent
_CONTROLLERS = _HERE / "controllers"


def _sources(*, controllers: bool) -> list[Path]:
    """The files that are compiled together: the kernel's and laws.py, or the controllers' too."""
    kernel = [path for path in _HERE.rglob("*.py") if _CONTROLLERS not in path.parents]
    return [*kernel, _HERE.parent / "laws.py", *(_CONTROLLERS.rglob("*.py") if controllers else ())]


@cache
def _cache_folder(*, controllers: bool) -> str:
    """A writable folder for this version of the code: the user's choice, in place, or at home.

    The kernel calls a controller by its address, so it need not be compiled anew when one changes.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_sources(controllers=controllers)):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    name = f"quietdial-{digest.hexdigest()[:16]}"
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


@contextmanager
def _caching(function: _Function) -> Iterator[None]:
    """Within it, numba makes caches in the folder of the file that `function` is from."""
    settings: Any = config  # numba sets its attributes at run time
    before = settings.CACHE_DIR
    controllers = _CONTROLLERS in Path(function.__code__.co_filename).parents
    settings.CACHE_DIR = _cache_folder(controllers=controllers)
    try:
        yield
    finally:
        settings.CACHE_DIR = before


_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def compiled(*, inline: Literal["never", "always"] = "never") -> Callable[[_Function], _Function]:
    """Decorator: compile in nopython mode, release the GIL, cache on disk, IEEE division.

    `inline="always"` copies the machine code into the caller. A call that stays hands over every
    array of state and parameters in some hundred words, which costs more than most events do, so
    everything on the way of an event is inlined. Arrays are not reference-counted (`_nrt`): no
    compiled function allocates, and the caller in Python holds what it passes.
    """

    def decorate(function: _Function) -> _Function:
        with _caching(function):
            compile_with = numba.njit(forceinline=inline == "always", **_OPTIONS)
            made: _Function = compile_with(function)
        return made

    return decorate


@cache
def entry_point(function: _Function) -> Any:
    """Compile a controller, int64(book's address, row); its `address` is what the kernel calls."""
    with _caching(function):
        return numba.cfunc(types.int64(types.int64, types.int64), **_OPTIONS)(function)
