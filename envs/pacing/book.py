"""How compiled functions are handed a world: by the address of one small table, the book.

`State` and `Params` are some 34 arrays. As arguments they would be several hundred words, which
every call of a compiled function would copy, which the way in from Python would take apart at every
step, and which make compilation slow. So Python hands over the book, one array of addresses and
lengths; compiled code has two pointers into it, and their attributes are the arrays. Nothing in a
book changes while compiled code runs, so the compiler is told that it may read each entry once.
Lengths that are the same in every world are constants of the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
)
from numba.np import arrayobj

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.params import N_PARAMS, N_X, Params
from quietdial.envs.pacing.state import (
    GRID,
    N_EST,
    N_FEED,
    N_HEAD,
    N_MORE,
    N_STORY,
    N_TALLY,
    N_TAPE,
    N_TRAIT,
    N_WINDOW,
    IntArray,
    State,
)

_WORD = ir.IntType(64)
_I64, _I32, _F64 = np.dtype(np.int64), np.dtype(np.int32), np.dtype(np.float64)
Length = int | None
"""Length of an axis: a constant, or None where it differs between worlds."""


class _Field(NamedTuple):
    """Where an array stands in the book: its address at word `at`, then its open lengths."""

    at: int
    dtype: np.dtype[Any]
    lengths: tuple[Length, ...]


def _placed(begin: int, *named: tuple[str, np.dtype[Any], tuple[Length, ...]]) -> dict[str, _Field]:
    fields = {}
    for name, dtype, lengths in named:
        fields[name] = _Field(begin, dtype, lengths)
        begin += 1 + len(lengths)
    return fields


_STATE = _placed(
    0,
    ("head", _I64, (None, N_HEAD)),
    ("est", _F64, (None, N_EST)),
    ("agent", _I64, (None, None, 3)),
    ("idle", _I64, (None, None)),
    ("call", _I64, (None, None, 4)),
    ("free", _I64, (None, None)),
    ("waiting", _I64, (None, None)),
    ("cohort", _I64, (None, None)),
    ("heap", _I64, (None, None)),
    ("more", _I64, (None, N_MORE)),
    ("trait", _I64, (None, None, N_TRAIT)),
    ("spare", _I64, (None, None)),
    ("story", _I64, (None, None, N_STORY)),
    ("person", _I32, (None, None, None)),
    ("again", _I64, (None, None)),
    ("due", _I64, (None, None)),
    ("caller", _I64, (None, None, 3)),
    ("window", _I64, (None, None, N_WINDOW)),
    ("bucket", _I64, (None, None, N_TALLY)),
    ("feed", _F64, (None, None, N_FEED)),
    ("log", _I64, (None, None, 6)),
    ("memo", _F64, (None, None)),
    ("tape", _I64, (None, None, N_TAPE)),
    ("lesson", _F64, (None, None, None)),
    ("release", _F64, (None, None, None, GRID)),
    ("ring", _F64, (None, None, 2 + GRID)),
    ("lead", _F64, (None, None, 2)),
    ("hand", _F64, (None, None, 2)),
    ("score", _F64, (None, None, 2)),
    ("pmf", _F64, (None, None, None)),
)
_PARAMS_AT = 130
_PARAMS = _placed(
    _PARAMS_AT,
    ("n", _I64, (N_PARAMS,)),
    ("x", _F64, (N_X,)),
    ("tables", _I64, (None, None)),
    ("curves", _F64, (None,)),
    ("grid_weight", _F64, (GRID,)),
    ("release", _F64, (None, None, GRID)),
    ("ring", _F64, (None, 2 + GRID)),
    ("ahead_s", _F64, (GRID, 2)),
    ("prior", _F64, (None, None)),
    ("settings", _F64, (None,)),
    ("sessions", _I64, (None, 10)),
    ("shifts", _I64, (None, 5)),
    ("segments", _I64, (None, None, 3)),
    ("shares", _I64, (None,)),
    ("reach", _F64, (None, 24)),
    ("windows", _I64, (None, None)),
    ("caps", _F64, (None,)),
    ("rolling", _I64, (None,)),
    ("periods", _I64, (None, None, 2)),
)
_CONTROLLER_AT = 200
_N_WORDS = 201


def make_book(state: State, params: Params, controller: int = 0) -> IntArray:
    """The book of a world, int64 words: it holds as long as both sets of arrays live.

    `controller` is the address of the controller's compiled code (controllers/plug.py).

    Raises `ConfigError` for an array of another type, layout or shape than `make_state` and
    `make_params` give.
    """
    book = np.zeros(_N_WORDS, np.int64)
    for record, fields in ((state, _STATE), (params, _PARAMS)):
        for name, field in fields.items():
            array = getattr(record, name)
            if not _fits(array, field):
                raise ConfigError(
                    f"{name}: an array {array.shape} of {array.dtype} must be contiguous, of "
                    f"{field.dtype} and of lengths {field.lengths} (None: any)"
                )
            book[field.at] = array.ctypes.data
            book[field.at + 1 : field.at + 1 + array.ndim] = array.shape
    book[_CONTROLLER_AT] = controller
    return book


def _fits(array: Any, field: _Field) -> bool:
    """Whether compiled code may read an array through its field; an empty one is never read."""
    same = len(array.shape) == len(field.lengths) and (
        array.size == 0
        or all(need in (None, n) for n, need in zip(array.shape, field.lengths, strict=True))
    )
    return same and array.dtype == field.dtype and bool(array.flags.c_contiguous)


# ------------------------------------------------------------------------------- compiled side


class _StateView(types.Type):
    """A pointer to a book, with the arrays of `State` as attributes."""

    def __init__(self) -> None:
        super().__init__("quietdial.State")


class _ParamsView(types.Type):
    """A pointer to a book, with the arrays of `Params` as attributes."""

    def __init__(self) -> None:
        super().__init__("quietdial.Params")


def _array_type(field: _Field) -> Any:
    scalar = {_I64: types.int64, _I32: types.int32, _F64: types.float64}[field.dtype]
    return types.Array(scalar, len(field.lengths), "C", aligned=True)


def _emit_array(context: Any, builder: Any, field: _Field, book: Any) -> Any:
    """The array of a field: its address and open lengths are loads, the rest are constants."""
    kind = _array_type(field)
    made = context.make_array(kind)(context, builder)
    never_changes = builder.module.add_metadata([])

    def loaded(word: int, to: Any) -> Any:
        place = builder.gep(builder.bitcast(book, _WORD.as_pointer()), [_WORD(word)])
        value = builder.load(builder.bitcast(place, to.as_pointer()))
        value.set_metadata("invariant.load", never_changes)
        return value

    lengths = [
        loaded(field.at + 1 + i, _WORD) if length is None else _WORD(length)
        for i, length in enumerate(field.lengths)
    ]
    itemsize = _WORD(field.dtype.itemsize)
    strides = [itemsize]
    for length in reversed(lengths[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    data = loaded(field.at, made.data.type)
    arrayobj.populate_array(  # type: ignore[no-untyped-call]
        made, data=data, shape=lengths, strides=strides, itemsize=itemsize, meminfo=None
    )
    return made._getvalue()


def _register(view: type[Any], fields: dict[str, _Field]) -> None:
    """Teach the compiler what the attributes of a view are."""
    register_model(view)(models.OpaqueModel)

    def resolve(_template: Any, _view: Any, name: str) -> Any:
        return _array_type(fields[name]) if name in fields else None

    def lower(context: Any, builder: Any, _view: Any, value: Any, name: str) -> Any:
        return _emit_array(context, builder, fields[name], value)

    template: Any = type("_Attributes", (AttributeTemplate,), {"generic_resolve": resolve})
    template.key = view
    register_attributes: Any = infer_getattr
    register_attributes(template)
    register_code: Any = lower_getattr_generic
    register_code(view)(lower)


_register(_StateView, _STATE)
_register(_ParamsView, _PARAMS)


def _opened(view: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        book = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.bitcast(book.data, context.get_value_type(view))

    return emit


@intrinsic
def _state_of(_typing: Any, book: Any) -> Any:
    """The state that a book describes."""
    view = _StateView()
    return view(book), _opened(view)


@intrinsic
def _params_of(_typing: Any, book: Any) -> Any:
    """The parameters that a book describes."""
    view = _ParamsView()
    return view(book), _opened(view)


def _at_address(view: Any) -> Any:
    def emit(context: Any, builder: Any, _signature: Any, arguments: Sequence[Any]) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(view))

    return emit


@intrinsic
def _state_at(_typing: Any, address: Any) -> Any:
    """The state that the book at an address describes."""
    view = _StateView()
    return view(types.int64), _at_address(view)


@intrinsic
def _params_at(_typing: Any, address: Any) -> Any:
    """The parameters that the book at an address describes."""
    view = _ParamsView()
    return view(types.int64), _at_address(view)


@intrinsic
def _ask_controller(_typing: Any, state: Any, row: Any) -> Any:
    """Call the controller's compiled code, int64(book's address, row); there must be one."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Sequence[Any]) -> Any:
        book, row = arguments
        place = builder.gep(builder.bitcast(book, _WORD.as_pointer()), [_WORD(_CONTROLLER_AT)])
        code = ir.FunctionType(_WORD, [_WORD, _WORD]).as_pointer()
        function = builder.inttoptr(builder.load(place), code)
        return builder.call(function, [builder.ptrtoint(book, _WORD), row])

    return types.int64(state, types.int64), emit


state_of: Any = _state_of
params_of: Any = _params_of
state_at: Any = _state_at
params_at: Any = _params_at
ask_controller: Any = _ask_controller
"""As compiled code calls them: without the typing context."""
