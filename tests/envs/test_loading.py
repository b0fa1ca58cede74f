"""The strict loader and the atomic writers."""

import json
import math
import os
import re
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quietdial.envs.errors import ConfigError, QuietDialError, RunFolderError
from quietdial.envs.loading import (
    MAX_BYTES,
    MAX_DEPTH,
    read_yaml,
    write_json_atomic,
    write_text_atomic,
    write_yaml,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
HARD_TEXT = st.sampled_from(
    [
        *["", "~", "null", "true", "no", "On", "y", "1e3", "1.0", "012", "0o17", "0x1F", "1_000"],
        *["12:30", "2024-01-01", ".inf", "-.INF", ".nan", "<<", "=", "*a", "&a", "!a", "- a"],
        *[
            "# a",
            "a: b",
            " a",
            "a ",
            "\n",
            "a\n\n b\n",
            "\t",
            "'",
            '"',
            "\\",
            "%",
            "@",
            "`",
            "\ufeff",
        ],
        *["\x00", "\x85", "\u2028", "\U0001f4de", "a" * 2000, "---", "..."],
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | HARD_TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT | HARD_TEXT, inner, max_size=4)
    ),
    max_leaves=15,
)
DOCUMENTS = st.dictionaries(TEXT | HARD_TEXT, VALUES, max_size=4)


def load(tmp_path: Path, text: str | bytes) -> dict[str, object]:
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_yaml(path)


def refusal(tmp_path: Path, text: str | bytes) -> str:
    """The message with which the loader refuses `text`, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(tmp_path))
    return message.removeprefix(str(tmp_path) + os.sep)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("+2.", 2.0),
        ("7", 7),
        ("-7", -7),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("18446744073709551615", 2**64 - 1),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("190:20:30", "190:20:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("=", "="),
        ("[1, a, {b: []}]", [1, "a", {"b": []}]),
    ],
)
def test_read_yaml__scalars_as_in_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    result = load(tmp_path, f"key: {text}\n")["key"]
    assert result == value
    assert type(result) is type(value)


def test_read_yaml__merge_key_is_an_ordinary_key(tmp_path: Path) -> None:
    assert load(tmp_path, "<<: {a: 1}\nb: 2") == {"<<": {"a": 1}, "b": 2}


def test_read_yaml__byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: .inf", "line 1, column 4: '.inf' is not allowed; give a finite number"),
        ("a: -.INF", "line 1, column 4: '-.INF' is not allowed; give a finite number"),
        ("a: .NaN", "line 1, column 4: '.NaN' is not allowed; give a finite number"),
        ("a: 1e999", "line 1, column 4: '1e999' is not allowed; give a finite number"),
        ("a: !!float .nan", "'.nan' is not allowed"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is given twice"),
        ("a: {b: 1, b: 1}", "line 1, column 11: the key 'b' is given twice"),
        ("a: &x 1\nb: *x", "line 2, column 4: the alias '*x' is not allowed"),
        ("a: &x [*x]", "the alias '*x' is not allowed"),
        ("5: 1", "the key '5' is not text; put it in quotes"),
        ("null: 1", "the key 'null' is not text"),
        ("? [1]\n: 2", "the key a list is not text"),
        ("a: 18446744073709551616", "does not fit in 64 bits"),
        ("a: " + "9" * 5000, "does not fit in 64 bits"),
        ("a: !!int abc", "'abc' does not fit its tag '!!int'"),
        ("a: !!bool ''", "'' does not fit its tag '!!bool'"),
        ("a: !!timestamp 2024-01-01", "the tag 'tag:yaml.org,2002:timestamp' is not allowed"),
        (
            "a: !!python/object/apply:os.system [id]",
            "python/object/apply:os.system' is not allowed",
        ),
        ("a: !!set {b}", "the tag 'tag:yaml.org,2002:set' is not allowed"),
        ("!!omap\na: 1", "the tag 'tag:yaml.org,2002:omap' is not allowed"),
        ("", "is empty; expected a mapping"),
        ("# only a comment\n", "is empty; expected a mapping"),
        ("- 1\n- 2", "holds a list; expected a mapping"),
        ("text", "holds a single value; expected a mapping"),
        ("a: 1\n---\nb: 2", "not valid YAML: expected a single document"),
        ("a: [1, 2", "not valid YAML"),
        ("a: b: c", "line 1, column 5: not valid YAML: mapping values are not allowed here"),
        ("a:\n\t- 1", "line 2, column 1: not valid YAML"),
        ("a: \x01", "the control character U+0001 is not allowed"),
        (b"a: \xff\xfe", "byte 3 is not UTF-8"),
        ("a: 1".encode("utf-16"), "byte 0 is not UTF-8"),
    ],
)
def test_read_yaml__refuses_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert message in refusal(tmp_path, text)


def test_read_yaml__refuses_an_alias_bomb_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    started = time.perf_counter()
    assert "alias '*a0' is not allowed" in refusal(tmp_path, "\n".join(lines))
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}"), ("- ", "")])
def test_read_yaml__limits_the_depth(tmp_path: Path, opening: str, closing: str) -> None:
    def nested(levels: int) -> str:
        start = "a:\n  " if opening == "- " else "a: "
        return start + opening * levels + "1" + closing * levels

    value = load(tmp_path, nested(MAX_DEPTH - 1))["a"]
    for _ in range(MAX_DEPTH - 1):
        assert isinstance(value, dict | list)
        value = value["a"] if isinstance(value, dict) else value[0]
    assert value == 1
    assert "nested deeper than the 20 levels" in refusal(tmp_path, nested(MAX_DEPTH))
    assert "nested deeper than the 20 levels" in refusal(tmp_path, nested(20_000))


def test_read_yaml__limits_the_size(tmp_path: Path) -> None:
    body = "a: 1\n"
    allowed = body + "#" * (MAX_BYTES - len(body))
    assert load(tmp_path, allowed) == {"a": 1}
    assert "larger than the 262144 bytes (256 KiB) allowed" in refusal(tmp_path, allowed + "#")


def test_read_yaml__names_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: there is no such file"):
        read_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="is not a file"):
        read_yaml(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        read_yaml(tmp_path / ("x" * 300))


@given(data=DOCUMENTS)
def test_write_yaml__reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    write_yaml(path, data)
    again = read_yaml(path)
    assert again == data
    assert repr(again) == repr(data)  # also the types, the order and the sign of zero
    # A plain YAML 1.1 reader may only differ where it knows numbers in fewer forms.
    assert yaml.safe_load(path.read_text("utf-8")) == data


def test_write_yaml__is_readable_and_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "out.yaml"
    write_yaml(path, {"z": 1, "a": [1.5, None], "no": "no", "rate": 1e-05})
    assert path.read_text() == "z: 1\na:\n- 1.5\n- null\n'no': 'no'\nrate: 1.0e-05\n"


def test_write_yaml__shared_parts_are_written_out(tmp_path: Path) -> None:
    part = {"x": [1, 2]}
    write_yaml(tmp_path / "out.yaml", {"a": part, "b": part})
    assert read_yaml(tmp_path / "out.yaml") == {"a": part, "b": part}


def test_writers__take_tuples_and_numpy_values(tmp_path: Path) -> None:
    data = {"t": (1, 2), "f": np.float64(0.5), "i": np.int64(3), "b": np.True_, "v": np.ones(2)}
    plain = {"t": [1, 2], "f": 0.5, "i": 3, "b": True, "v": [1.0, 1.0]}
    write_yaml(tmp_path / "out.yaml", data)
    assert read_yaml(tmp_path / "out.yaml") == plain
    write_json_atomic(tmp_path / "out.json", data)
    assert json.loads((tmp_path / "out.json").read_text()) == plain


@pytest.mark.parametrize("write", [write_yaml, write_json_atomic])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [{"b": math.nan}]}, "a[0].b is nan; only finite numbers are allowed"),
        ({"a": -math.inf}, "a is -inf; only finite numbers"),
        ({"a": np.array([1.0, math.nan])}, "a[1] is nan"),
        ({"a": 2**64}, "the integer at a does not fit in 64 bits"),
        ({"a": {1: 2}}, "the key 1 in a is not text"),
        ({"a": Path("x")}, "a is of type PosixPath"),
        ({"a": {1, 2}}, "a is of type set"),
        ({"a": b"x"}, "a is of type bytes"),
        ({"a": "\ud800"}, "holds half of a surrogate pair"),
    ],
)
def test_writers__refuse_what_cannot_be_read_back(
    tmp_path: Path, write: object, data: dict[str, object], message: str
) -> None:
    assert callable(write)
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(ConfigError, match=re.escape(message)):
        write(path, data)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("write", [write_yaml, write_json_atomic])
def test_writers__refuse_circular_data(tmp_path: Path, write: object) -> None:
    assert callable(write)
    data: dict[str, object] = {}
    data["a"] = data
    with pytest.raises(ConfigError, match="nested too deeply"):
        write(tmp_path / "out", data)


def test_write_yaml__limits_depth_and_size_like_the_loader(tmp_path: Path) -> None:
    value: object = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    write_yaml(tmp_path / "out.yaml", {"a": value})
    with pytest.raises(ConfigError, match="nested too deeply"):
        write_yaml(tmp_path / "out.yaml", {"a": [value]})
    with pytest.raises(ConfigError, match="more than 262144 bytes"):
        write_yaml(tmp_path / "out.yaml", {"a": "x" * MAX_BYTES})


def test_write_json_atomic__sorts_keys_and_keeps_letters(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "out.json", {"b": "è", "a": [1]})
    text = (tmp_path / "out.json").read_text("utf-8")
    assert text == '{\n  "a": [\n    1\n  ],\n  "b": "è"\n}\n'


def test_write_text_atomic__keeps_line_ends_and_the_usual_mode(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    write_text_atomic(path, "a\r\nb\n")
    assert path.read_bytes() == b"a\r\nb\n"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_write_text_atomic__an_interrupted_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.txt"
    write_text_atomic(path, "old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.txt"]


def test_write_text_atomic__names_the_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    for path in (tmp_path / "no" / "out.txt", tmp_path / "plain" / "out.txt"):
        with pytest.raises(RunFolderError) as caught:
            write_text_atomic(path, "x")
        assert isinstance(caught.value, QuietDialError)
        assert str(caught.value).startswith(f"{path} cannot be written: No")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunFolderError, match="cannot be written: Is a directory"):
        write_text_atomic(tmp_path / "folder", "x")
    with pytest.raises(ConfigError, match="surrogate"):
        write_text_atomic(tmp_path / "out.txt", "\udc80")
