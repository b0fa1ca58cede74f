"""Read and write the small files of the project: a strict YAML loader and atomic writers.

Scenarios and run configurations come from strangers, so the loader accepts only what a
configuration needs. It never builds Python objects, follows no alias, and reads scalars as YAML 1.2
does: ``1e3`` is a number; ``no``, ``on``, ``12:30`` and ``2024-01-01`` are text.

Allowed: UTF-8, at most :data:`MAX_BYTES` bytes, one document, a mapping on top, at most
:data:`MAX_DEPTH` nested mappings and lists, keys that are text and unique within their mapping,
finite numbers, integers of 64 bits.
"""

import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import yaml
from yaml.composer import Composer
from yaml.events import AliasEvent, CollectionStartEvent, Event
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from quietdial.envs.errors import ConfigError, RunFolderError

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "read_yaml",
    "write_json_atomic",
    "write_text_atomic",
    "write_yaml",
]

MAX_BYTES: Final = 256 * 1024
"""Largest YAML file that is read, in bytes."""

MAX_DEPTH: Final = 20
"""Deepest nesting of mappings and lists; the top mapping is level 1."""

_MAX_JSON_DEPTH: Final = 100
_MIN_INTEGER: Final = -(2**63)
_MAX_INTEGER: Final = 2**64 - 1

_CORE: Final = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = (_CORE + kind for kind in ("null", "bool", "int", "float"))
_STR, _MAP, _SEQ = (_CORE + kind for kind in ("str", "map", "seq"))

# The core schema of YAML 1.2.2, section 10.3.2: tag, pattern, possible first characters.
_CORE_SCHEMA: Final[tuple[tuple[str, re.Pattern[str], tuple[str, ...]], ...]] = (
    (_NULL, re.compile(r"(?:~|null|Null|NULL|)\Z"), ("~", "n", "N", "")),
    (_BOOL, re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), tuple("tTfF")),
    (_INT, re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), tuple("-+0123456789")),
    (
        _FLOAT,
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        tuple("-+.0123456789"),
    ),
)


class _Mark(Protocol):
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class _RefusedError(Exception):
    """Something in the document is not allowed; the message has no file name yet."""


class _StrictComposer(Reader, Scanner, Parser, Composer, BaseResolver):
    """Text to node tree under the YAML 1.2 core schema; refuses aliases and deep nesting."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event: Event = self.peek_event()  # type: ignore[no-untyped-call]
        where = _place(event.start_mark)
        if isinstance(event, AliasEvent):
            raise _RefusedError(f"{where}: the alias '*{event.anchor}' is not allowed")
        if isinstance(event, CollectionStartEvent) and self._depth >= MAX_DEPTH:
            raise _RefusedError(f"{where}: nested deeper than the {MAX_DEPTH} levels allowed")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Dumper(yaml.SafeDumper):
    """Writes text in quotes wherever a YAML 1.1 or a YAML 1.2 reader would take it for more."""

    def ignore_aliases(self, data: object) -> bool:
        return True


for _tag, _pattern, _first in _CORE_SCHEMA:
    _StrictComposer.add_implicit_resolver(_tag, _pattern, list(_first))
    _Dumper.add_implicit_resolver(_tag, _pattern, list(_first))


def read_yaml(path: Path) -> dict[str, object]:
    """Read one configuration file strictly (see the module's text for what is allowed).

    Args:
        path: the YAML file.

    Returns:
        The top mapping: dicts, lists, text, booleans, integers, finite floats and None.

    Raises:
        ConfigError: the file cannot be read or holds something that is not allowed; the message is
            one line with the file, the place, what is wrong and what is allowed.
    """
    return _parse(_read_text(path), str(path))


def write_yaml(path: Path, data: Mapping[str, object]) -> None:
    """Write a mapping so that :func:`read_yaml` reads back an equal one; replace the file at once.

    Tuples are written as lists and numpy scalars and arrays as plain numbers and lists.

    Args:
        path: the file; its folder must exist.
        data: text keys; values as :func:`read_yaml` returns them.

    Raises:
        ConfigError: `data` holds a value that the loader would refuse.
        RunFolderError: the file cannot be written.
    """
    name = str(path)
    try:
        plain = _plain(data, "", MAX_DEPTH)
    except _RefusedError as error:
        raise ConfigError(f"{name} not written: {error}") from None
    text = ""
    for style in (None, '"'):  # the second style is slower to read for people but always exact
        text = yaml.dump(
            plain,
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=False,
            default_style=style,
            width=100,
        )
        if len(text.encode("utf-8")) > MAX_BYTES:
            raise ConfigError(f"{name} not written: more than {MAX_BYTES} bytes of YAML")
        try:
            if _parse(text, name) == plain:
                break
        except ConfigError:
            continue
    else:
        raise ConfigError(f"{name} not written: it holds text that YAML cannot carry unchanged")
    write_text_atomic(path, text)


def write_json_atomic(path: Path, data: object) -> None:
    """Write `data` as JSON with sorted keys and a final newline; replace the file at once.

    Tuples are written as lists and numpy scalars and arrays as plain numbers and lists.

    Args:
        path: the file; its folder must exist.
        data: mappings with text keys, lists, text, booleans, finite numbers and None.

    Raises:
        ConfigError: `data` holds something else, for instance NaN; the message names the place.
        RunFolderError: the file cannot be written.
    """
    try:
        plain = _plain(data, "", _MAX_JSON_DEPTH)
    except _RefusedError as error:
        raise ConfigError(f"{path} not written: {error}") from None
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text_atomic(path, text + "\n")


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text to a temporary file beside `path`, then put it in place in one step.

    A reader sees the old file or the new one, never a part; an interrupted write changes nothing.

    Args:
        path: the file; its folder must exist.
        text: what to write; line ends are kept as they are.

    Raises:
        ConfigError: the text cannot be written as UTF-8.
        RunFolderError: the file cannot be written.
    """
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"{path} not written: half of a surrogate pair is not text") from None
    write_bytes_atomic(path, content)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk (OSError: it cannot, or is there)."""
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write bytes to a temporary file beside `path`, then put it in place in one step.

    Args:
        path: the file; its folder must exist.
        content: what to write.

    Raises:
        RunFolderError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            write_synced(temporary, content)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RunFolderError(f"{path} cannot be written: {reason}") from error


def _read_text(path: Path) -> str:
    try:
        if not path.exists():
            raise ConfigError(f"{path}: there is no such file; give the path of a YAML file")
        if not path.is_file():
            raise ConfigError(f"{path}: is not a file; give the path of a YAML file")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be read: {reason}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than the {MAX_BYTES} bytes (256 KiB) allowed")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text"
        ) from None


def _parse(text: str, name: str) -> dict[str, object]:
    try:
        node = _StrictComposer(text).get_single_node()
        if node is None:
            raise _RefusedError("is empty; expected a mapping, 'key: value' lines")
        if not isinstance(node, MappingNode):
            kind = "a list" if isinstance(node, SequenceNode) else "a single value"
            raise _RefusedError(f"holds {kind}; expected a mapping, 'key: value' lines")
        return _mapping(node)
    except _RefusedError as error:
        raise ConfigError(f"{name}: {error}") from None
    except ReaderError as error:
        code = error.character if isinstance(error.character, int) else 0
        raise ConfigError(f"{name}: the control character U+{code:04X} is not allowed") from None
    except yaml.MarkedYAMLError as error:
        parts = [part for part in (error.context, error.problem) if part]
        mark = error.problem_mark or error.context_mark
        where = f"{_place(mark)}: " if mark is not None else ""
        what = " ".join(", ".join(parts).split())
        raise ConfigError(f"{name}: {where}not valid YAML: {what}") from None


def _mapping(node: MappingNode) -> dict[str, object]:
    if node.tag != _MAP:
        raise _RefusedError(f"{_place(node.start_mark)}: the tag {node.tag!r} is not allowed")
    result: dict[str, object] = {}
    for key_node, value_node in node.value:
        where = _place(key_node.start_mark)
        if not isinstance(key_node, ScalarNode) or key_node.tag != _STR:
            shown = f"{key_node.value!r:.60}" if isinstance(key_node, ScalarNode) else "a list"
            raise _RefusedError(f"{where}: the key {shown} is not text; put it in quotes")
        key = key_node.value
        if key in result:
            raise _RefusedError(f"{where}: the key {key!r:.60} is given twice; keep one")
        result[key] = _value(value_node)
    return result


def _value(node: Node) -> object:
    if isinstance(node, MappingNode):
        return _mapping(node)
    if isinstance(node, SequenceNode) and node.tag == _SEQ:
        return [_value(item) for item in node.value]
    if isinstance(node, ScalarNode) and node.tag in _SCALARS:
        return _scalar(node)
    raise _RefusedError(f"{_place(node.start_mark)}: the tag {node.tag!r} is not allowed")


_SCALARS: Final = {tag: pattern for tag, pattern, _ in _CORE_SCHEMA} | {_STR: re.compile("")}


def _scalar(node: ScalarNode) -> object:
    text: str = node.value
    where = _place(node.start_mark)
    if node.tag == _STR:
        return text
    if not _SCALARS[node.tag].match(text):  # only an explicit tag such as `!!int abc` comes here
        kind = node.tag.removeprefix(_CORE)
        raise _RefusedError(f"{where}: {text!r:.60} does not fit its tag '!!{kind}'")
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return text.lower() == "true"
    if node.tag == _INT:
        return _integer(text, where)
    number = math.inf if text[-1] in "fFnN" else float(text)  # `.inf` or `.nan`
    if not math.isfinite(number):
        raise _RefusedError(f"{where}: {text!r:.60} is not allowed; give a finite number")
    return number


def _integer(text: str, where: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    digits = text[2:] if base != 10 else text
    number = int(digits, base) if len(text) <= 100 else _MAX_INTEGER + 1
    if not _MIN_INTEGER <= number <= _MAX_INTEGER:
        raise _RefusedError(f"{where}: the integer {text!r:.60} does not fit in 64 bits")
    return number


def _place(mark: _Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "the file"


def _plain(value: object, where: str, levels: int) -> object:
    """Copy `value` into dicts, lists and plain scalars; refuse what a file cannot hold."""
    place = where or "the top level"
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping | list | tuple) and levels == 0:
        raise _RefusedError(f"{place:.200} is nested too deeply")
    if isinstance(value, Mapping):
        result: dict[str, object] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise _RefusedError(f"the key {key!r:.60} in {place:.200} is not text")
            _check_text(key, place)
            result[str(key)] = _plain(item, f"{where}.{key}" if where else key, levels - 1)
        return result
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", levels - 1) for i, item in enumerate(value)]
    return _plain_scalar(value, place)


def _plain_scalar(value: object, place: str) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not _MIN_INTEGER <= value <= _MAX_INTEGER:
            raise _RefusedError(f"the integer at {place:.200} does not fit in 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _RefusedError(f"{place:.200} is {value!r}; only finite numbers are allowed")
        return float(value)
    if isinstance(value, str):
        _check_text(value, place)
        return str(value)
    kind = type(value).__name__
    raise _RefusedError(f"{place:.200} is of type {kind}; allowed are text, numbers and lists")


def _check_text(text: str, place: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _RefusedError(f"{place!r:.200} holds half of a surrogate pair")
