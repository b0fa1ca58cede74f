"""The process: what it loads, its sockets, limits, tokens, rights and reloading."""

import contextlib
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from quietdial.agents.serve.errors import ServeError
from quietdial.agents.serve.settings import settings_of
from quietdial.experiments.sidecar.chaos import damaged_copy, move_link
from quietdial.experiments.sidecar.process import (
    Sidecars,
    example_ask,
    example_features,
    free_port,
    running,
    unix_http,
)
from quietdial.experiments.sidecar.strangers import send_malformed

JSON = {"Content-Type": "application/json"}
FORBIDDEN = (
    "numba",
    "gymnasium",
    "torch",
    "pydantic",
    "scipy",
    "onnx",
    "quietdial.envs",
    "quietdial.experiments",
)


def until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def exchange(sidecar: Sidecars, data: bytes) -> bytes:
    """What comes back until the sidecar closes or a second is over."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(str(sidecar.socket))
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(data)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := connection.recv(65_536):
                found += part
        return found


# ------------------------------------------------------------------------------------- process


def test_serving_process__is_light_and_writes_nothing(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    """Only the socket is made; no simulator, compiler or learning library is loaded."""
    program = """
import json, os, sys
opened = []
def hear(event, args):
    if event == "open" and isinstance(args[1] or "", str) and set(args[1] or "") & set("wax+"):
        opened.append(str(args[0]))
    elif event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        opened.append(str(args[0]))
    elif event in ("os.mkdir", "os.rename", "os.symlink", "os.link", "shutil.copyfile"):
        opened.append(f"{event} {args}")
sys.dont_write_bytecode = True
sys.addaudithook(hear)
from quietdial.agents.serve.__main__ import main
code = main()
print(json.dumps({"opened": opened, "modules": sorted(sys.modules), "code": code}))
"""
    path = tmp_path / "s.sock"
    command = [sys.executable, "-c", program, str(bundles[0]), "--unsigned", "--cold-start", "0"]
    command += ["--socket", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        until(path.exists)
        until(lambda: _healthy(path))
        connection = unix_http(path)
        body = example_ask(example_features(bundles[0]))
        connection.request("POST", "/v1/decide", body, JSON)
        assert json.loads(connection.getresponse().read())["rung"] == "policy"
        connection.close()
        process.terminate()
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    told = json.loads(out)
    assert told["code"] == 0
    assert told["opened"] == []
    loaded = [
        m
        for m in told["modules"]
        if m in FORBIDDEN or m.startswith(tuple(f"{f}." for f in FORBIDDEN))
    ]
    assert loaded == []
    assert not path.exists()


def _healthy(path: Path) -> bool:
    with contextlib.suppress(OSError), contextlib.closing(unix_http(path)) as connection:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


def test_verb__becomes_the_serving_process(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    program = "import sys; from quietdial.experiments.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", str(bundles[0]), "--unsigned"]
    process = subprocess.Popen(
        [*command, "--socket", str(path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        until(lambda: path.exists() and _healthy(path))
        shown = Path(f"/proc/{process.pid}/cmdline")
        if shown.exists():
            assert b"quietdial.agents.serve" in shown.read_bytes()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_memory__stays_below_100_mb(sidecar: Sidecars) -> None:
    assert sidecar.memory_bytes() < 100 * 2**20


def test_socket__is_for_owner_and_group(sidecar: Sidecars) -> None:
    assert stat.S_IMODE(sidecar.socket.stat().st_mode) == 0o660


def test_second_sidecar__does_not_take_the_place_of_a_running_one(
    sidecar: Sidecars, bundles: tuple[Path, Path]
) -> None:
    command = [sys.executable, "-m", "quietdial.agents.serve", str(bundles[0]), "--unsigned"]
    done = subprocess.run(
        [*command, "--socket", str(sidecar.socket)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "another process serves there" in done.stderr
    assert sidecar.get("/healthz")[0] == 200


def test_kill__leaves_a_socket_that_the_next_one_takes(bundles: tuple[Path, Path]) -> None:
    with running(bundles[0]) as made:
        made.kill()
        assert made.socket.exists()
        made.start()
        assert made.get("/healthz")[0] == 200
        assert made.end() == 0
        assert not made.socket.exists()


# ------------------------------------------------------------------------------------- requests


def test_lines_and_http__give_the_same_answer(
    sidecar: Sidecars, bundles: tuple[Path, Path]
) -> None:
    ask = example_ask(example_features(bundles[0]), "both")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(sidecar.socket))
        connection.sendall(ask)
        by_line = connection.makefile("rb").readline()
    status, by_http = sidecar.request("POST", "/v1/decide", ask, JSON)
    assert status == 200
    assert by_line == by_http


def test_pipelined__answers_come_in_order(sidecar: Sidecars, bundles: tuple[Path, Path]) -> None:
    features = example_features(bundles[0])
    lines = [example_ask(features, f"c-{i % 7}", i) for i in range(100)]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(sidecar.socket))
        connection.sendall(b"".join(lines) + b'{"half"')
        reader = connection.makefile("rb")
        assert [json.loads(reader.readline())["seq"] for _ in lines] == list(range(100))
    head = b"POST /v1/decide HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    requests = [head + b"Content-Length: %d\r\n\r\n%s" % (len(line), line) for line in lines[:40]]
    found = exchange(sidecar, b"".join(requests))
    assert found.count(b"HTTP/1.1 200 OK") == 40


def test_malformed_requests__are_refused_and_harm_nobody(
    sidecar: Sidecars, bundles: tuple[Path, Path]
) -> None:
    found = send_malformed(str(sidecar.socket), example_features(bundles[0]), 600, 1)
    assert set(found) <= {"refused", "closed"}
    assert found["refused"] > 500
    assert sidecar.alive()
    assert b"Traceback" not in sidecar.log.read_bytes()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /v1/decide HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n", 413),
        (b"POST /v1/decide HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n", 413),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 17_000 + b"\r\n", 431),
        (b"DELETE /v1/decide HTTP/1.1\r\nHost: x\r\n", 405),
        (b"POST /v1/decide HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", 415),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n", 404),
        (b"GET /healthz HTTP/1.1\r\n", 400),
    ],
)
def test_limits_of_http(sidecar: Sidecars, request_: bytes, status: int) -> None:
    body = b""
    if b"chunked" in request_:
        request_ = request_.replace(b"Host", b"Content-Type: application/json\r\nHost")
        body = (b"1000\r\n" + b" " * 0x1000 + b"\r\n") * 17 + b"0\r\n\r\n"
    found = exchange(sidecar, request_ + b"Connection: close\r\n\r\n" + body)
    assert found.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]
    if status == 405:
        assert b"Allow: POST" in found


def test_expectation__is_met(sidecar: Sidecars, bundles: tuple[Path, Path]) -> None:
    ask = example_ask(example_features(bundles[0]), "patient")
    head = b"POST /v1/decide HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(ask)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(sidecar.socket))
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(ask)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_page_in_a_browser__cannot_speak_to_loopback_by_another_name(sidecar: Sidecars) -> None:
    for host, status in (("evil.example", 421), ("localhost", 200), ("127.0.0.1:99", 200)):
        connection = HTTPConnection("127.0.0.1", sidecar.port, timeout=5)
        connection.request("GET", "/healthz", headers={"Host": host})
        assert connection.getresponse().status == status
        connection.close()


def test_slow_and_many__are_bounded(bundles: tuple[Path, Path]) -> None:
    with running(bundles[0], ["--idle-s", "2", "--max-connections", "4"]) as made:
        held = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        begin_s = time.monotonic()
        for connection in held:
            connection.settimeout(10)
            connection.connect(str(made.socket))
            connection.sendall(b'{"campaign"')
        with socket.socket(socket.AF_UNIX) as fifth:
            fifth.settimeout(10)
            fifth.connect(str(made.socket))
            with contextlib.suppress(ConnectionResetError):
                assert fifth.recv(1) == b""
        assert time.monotonic() - begin_s < 1.9
        for connection in held:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            connection.close()
        assert time.monotonic() - begin_s > 1.5
        until(lambda: _healthy(made.socket))
        assert made.metric('quietdial_connections_closed_total{reason="time_out"}') == 4
        assert made.metric('quietdial_connections_closed_total{reason="too_many"}') >= 1


def test_deaf_client__does_not_fill_the_memory(
    sidecar: Sidecars, bundles: tuple[Path, Path]
) -> None:
    ask = example_ask(example_features(bundles[0]), "deaf")
    before = sidecar.memory_bytes()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(0.5)
        connection.connect(str(sidecar.socket))
        with pytest.raises(TimeoutError):
            connection.sendall(ask * 20_000)
        assert sidecar.get("/healthz")[0] == 200
        assert sidecar.memory_bytes() < before + 8 * 2**20


def test_metrics__are_prometheus_text(sidecar: Sidecars, bundles: tuple[Path, Path]) -> None:
    sidecar.request("POST", "/v1/decide", example_ask(example_features(bundles[0]), "m"), JSON)
    status, page = sidecar.get("/metrics")
    assert status == 200
    kinds = {}
    for line in page.decode().splitlines():
        if line.startswith("# TYPE"):
            kinds[line.split()[2]] = line.split()[3]
        elif not line.startswith("#"):
            name, value = line.rpartition(" ")[0].partition("{")[0], line.rpartition(" ")[2]
            float(value)
            base = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
            assert name in kinds or kinds[base] == "histogram"
    assert kinds["quietdial_decisions_total"] == "counter"
    assert sidecar.metric('quietdial_decisions_total{rung="policy",reason=""}') >= 1


# ------------------------------------------------------------------------------------- reloading


def test_reload__takes_a_right_bundle_and_refuses_a_damaged_one(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundles[0])
    bad = damaged_copy(bundles[0], tmp_path / "bad", 1)
    one, two = (
        json.loads((bundle / "manifest.json").read_text())["bundle_id"] for bundle in bundles
    )
    with running(link) as made:
        served: Callable[[], str] = lambda: json.loads(made.get("/healthz")[1])["bundle_id"]  # noqa: E731
        assert served() == one
        for place, result in ((bad, "refused"), (tmp_path / "gone", "refused"), (bundles[1], "ok")):
            name = f'quietdial_reloads_total{{result="{result}"}}'
            before = made.metric(name)
            move_link(link, place)
            made.signal(signal.SIGHUP)
            until(lambda name=name, before=before: made.metric(name) == before + 1)  # type: ignore[misc]
            assert served() == (two if result == "ok" else one)
        assert (
            b"policy.safetensors" in made.log.read_bytes() or b"SHA256SUMS" in made.log.read_bytes()
        )


def test_watch__reloads_by_itself(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundles[0])
    with running(link, ["--watch"]) as made:
        move_link(link, bundles[1])
        until(lambda: made.metric('quietdial_reloads_total{result="ok"}') == 1)


# ------------------------------------------------------------------------------------- rights


def test_refuses_to_start_with_one_line(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a" * 40)
    token.chmod(0o644)
    short = tmp_path / "short"
    short.write_text("abc")
    short.chmod(0o600)
    for flags, says in (
        ([], "nothing to listen on"),
        (["--http", "0.0.0.0:8090"], "can be reached from other machines"),
        (["--http", "[::]:8090", "--token-file", str(short)], "must hold 32"),
        (["--http", "example.org:8090"], "can be reached from other machines"),
        (["--http", "8090"], "must be HOST:PORT"),
        (["--socket", "s", "--token-file", str(token)], "others may read"),
        (["--socket", "s", "--tls-cert", "c"], "belong together"),
        (["--socket", "s", "--idle-s", "nan"], "must be from"),
        (["--socket", "s", "--max-connections", "0"], "must be from"),
        (["--socket", "s", "--state", str(tmp_path / "no")], "is no folder"),
        (["--socket", "s" * 200], "longer than"),
        (["--sock", "s"], "unrecognized"),
    ):
        with pytest.raises(ServeError, match=says) as caught:
            settings_of(["bundle", "--unsigned", *flags])
        assert "\n" not in str(caught.value)
    with pytest.raises(ServeError, match="give --signers FILE"):
        settings_of(["bundle", "--socket", "s"])


def make_certificate(cert: Path, key: Path) -> None:
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    make += ["-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert)]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*make, *names], check=True, capture_output=True)


def test_other_machines__need_token_and_tls(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key, token = (tmp_path / name for name in ("cert.pem", "key.pem", "token"))
    make_certificate(cert, key)
    token.write_text("0123456789" * 4 + "\n")
    token.chmod(0o600)
    port = free_port()
    flags = ["--http", f"0.0.0.0:{port}", "--token-file", str(token)]
    flags += ["--tls-cert", str(cert), "--tls-key", str(key)]
    context = ssl.create_default_context(cafile=str(cert))
    with running(bundles[0], flags) as made:

        def status(path: str, headers: dict[str, str]) -> int:
            connection = HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
            connection.request("GET", path, headers=headers)
            found = connection.getresponse().status
            connection.close()
            return found

        right = {"Authorization": "Bearer " + "0123456789" * 4}
        assert status("/metrics", right) == 200
        assert status("/metrics", {"Authorization": "Bearer " + "0123456789" * 3}) == 401
        assert status("/metrics", {"Authorization": "Basic " + "0123456789" * 4}) == 401
        assert status("/metrics", {}) == 401
        assert status("/nothing", {}) == 401
        assert status("/nothing", right) == 404
        assert status("/healthz", {}) == 200
        assert made.get("/healthz")[0] == 200  # the socket's own rights are enough
        assert b"0123456789" not in made.log.read_bytes()


def test_token_and_certificate__are_read_again_and_bad_ones_refused(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key, token = (tmp_path / name for name in ("cert.pem", "key.pem", "token"))
    make_certificate(cert, key)
    token.write_text("a" * 40)
    token.chmod(0o600)
    port = free_port()
    flags = ["--http", f"0.0.0.0:{port}", "--token-file", str(token)]
    flags += ["--tls-cert", str(cert), "--tls-key", str(key)]
    with running(bundles[0], flags) as made:

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", port), timeout=5)

        def status(secret: str) -> int:
            context = ssl._create_unverified_context()
            connection = HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {secret}"})
            found = connection.getresponse().status
            connection.close()
            return found

        def renewed(result: str) -> None:
            names = [
                f'quietdial_secrets_total{{what="{what}",result="{result}"}}'
                for what in ("token", "certificate")
            ]
            made.signal(signal.SIGHUP)
            end_s = time.monotonic() + 20
            while time.monotonic() < end_s and not all(made.metric(name) for name in names):
                time.sleep(0.02)
            assert [made.metric(name) for name in names] == [1, 1]

        first = shown()
        assert first == cert.read_text()
        token.write_text("short")
        key.write_text("no key")
        renewed("refused")
        assert shown() == first
        assert (status("a" * 40), status("short")) == (200, 401)
        make_certificate(cert, key)
        token.write_text("b" * 40)
        renewed("ok")
        assert shown() == cert.read_text() != first
        assert (status("a" * 40), status("b" * 40)) == (401, 200)
        assert b"bbbbbbbb" not in made.log.read_bytes()


def test_rights__are_given_up_for_good(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    if os.getuid() != 0:
        command = [sys.executable, "-m", "quietdial.agents.serve", str(bundles[0]), "--unsigned"]
        done = subprocess.run(
            [*command, "--socket", str(tmp_path / "s"), "--user", "nobody"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 2
        assert "cannot become it" in done.stderr
        return
    with running(bundles[0], ["--user", "nobody"]) as made:
        text = Path(f"/proc/{made.pid}/status").read_text()
        fields: dict[str, Any] = dict(
            line.split(":\t", 1) for line in text.splitlines() if ":\t" in line
        )
        assert len(set(fields["Uid"].split())) == 1
        assert fields["Uid"].split()[0] != "0"
        assert "0" not in fields["Gid"].split()
        assert fields["CapEff"].strip("0") == ""
        assert fields["NoNewPrivs"] == "1"
        assert made.get("/healthz")[0] == 200
