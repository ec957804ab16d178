"""Interpreters that end, fork and are interrupted."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "modelserver_transport", reason="modelserver_transport is not installed: build server/transport"
)

pytestmark = pytest.mark.process

BEGIN_SERVER = """
import atexit, os, signal, sys, threading, time
import modelserver_transport
ECHO = "/test.Texts/Echo"
transport = modelserver_transport.Transport(["127.0.0.1:0"], [ECHO], ["/test.Texts/Watch"])
port = transport.start()
"""
BEGIN = f"""{BEGIN_SERVER}
import grpc
channel = grpc.insecure_channel("127.0.0.1:%d" % port)
echo = channel.unary_unary(ECHO)
"""


def run(
    script: str, *, begin: str = BEGIN, signal_at_start: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script after `begin`, with a signal once it prints something, if one is given."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", begin + textwrap.dedent(script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, GRPC_ENABLE_FORK_SUPPORT="false"),
    )
    assert process.stdout is not None
    first = process.stdout.readline() if signal_at_start else ""
    if signal_at_start:
        process.send_signal(signal_at_start)
    output, errors = process.communicate(timeout=50)
    return subprocess.CompletedProcess(process.args, process.returncode, first + output, errors)


@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.parametrize(
    "work",
    [
        "pass",
        "transport.reply_many(calls[0], calls[2])",
        "transport.fail_many(calls[0], 13, '')",
        "sum(range(10000))",
    ],
)
def test_an_interpreter_ends_well_with_calls_in_flight_and_threads_inside(
    work: str, attempt: int, connect: Callable[..., Any]
) -> None:
    script = f"""
    def serve():
        while (calls := transport.next_calls(None)) is not None:
            {work}

    def watch():
        while transport.next_messages(None) is not None:
            pass

    def wait():
        other.next_calls(None)

    other = modelserver_transport.Transport(["127.0.0.1:0"], [ECHO])
    for target in (serve, serve, watch, wait):
        threading.Thread(target=target, daemon=True).start()
    print(port, flush=True)
    while transport.stats()["accepted"] <= 20 * {attempt}:
        pass
    """
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN_SERVER + textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        connection = connect(int(process.stdout.readline()))
        with contextlib.suppress(ConnectionError):  # it ends meanwhile
            for stream in range(1, 401, 2):
                connection.begin(stream)
        _, errors = process.communicate(timeout=50)

    assert (process.returncode, errors) == (0, "")


def test_an_interpreter_ends_while_a_thread_stops_the_transport() -> None:
    result = run("""
    import socket
    idle = socket.create_connection(("127.0.0.1", port))
    while transport.stats()["connections"] == 0:
        pass
    stopping = threading.Thread(target=transport.stop, args=(3600,), daemon=True)
    stopping.start()
    """)

    assert (result.returncode, result.stderr) == (0, "")


def test_an_interpreter_ends_well_after_a_stop() -> None:
    result = run("""
    serving = threading.Thread(target=lambda: transport.next_calls(None))
    serving.start()
    print(transport.stop(1), transport.next_calls(None))
    serving.join()
    """)

    assert (result.returncode, result.stdout, result.stderr) == (0, "True None\n", "")


@pytest.mark.parametrize("wait", ["transport.next_calls(None)", "transport.next_messages(None)"])
def test_a_signal_interrupts_a_main_thread_that_waits(wait: str) -> None:
    result = run(
        f"""
        try:
            print("waiting", flush=True)
            {wait}
        except KeyboardInterrupt:
            print("interrupted")
        """,
        signal_at_start=signal.SIGINT,
    )

    assert result.stdout.splitlines()[-1] == "interrupted"
    assert result.returncode == 0


def test_a_forked_child_is_told_why_it_cannot_use_the_transport() -> None:
    result = run("""
    threading.Thread(target=lambda: transport.next_calls(None), daemon=True).start()
    pid = os.fork()
    if pid == 0:
        messages = set()
        for name, arguments in [
            ("start", ()), ("next_calls", (0,)), ("next_messages", (0,)), ("reply_many", ([], [])),
            ("reply_split", ([1], b"", b"", b"")), ("fail_many", ([], 13, "")), ("alive", ([],)),
            ("send_message", (1, b"")), ("end_stream", (1,)), ("ping", (1,)), ("fileno", ()),
            ("stats", ()), ("set_tls", (b"", b"")),
        ]:
            try:
                getattr(transport, name)(*arguments)
            except RuntimeError as error:
                messages.add(str(error))
        print(len(messages), "fork" in messages.pop(), transport.stop(10), flush=True)
        del transport
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)

    assert result.stdout.split() == ["1", "True", "True", "0"]
    assert result.stderr == ""


def test_a_fork_leaves_the_parent_untouched() -> None:
    result = run("""
    def serve():
        while (calls := transport.next_calls(None)) is not None:
            transport.reply_many(calls[0], calls[2])

    threading.Thread(target=serve, daemon=True).start()
    print(echo(b"before", timeout=30))
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            del transport
            atexit._run_exitfuncs()
            os._exit(0)  # grpc's channels may crash a forked child that ends by itself
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        print(echo(b"after", timeout=30))
    print(transport.stop(30))
    """)

    assert result.stdout.splitlines() == ["b'before'", *["b'after'"] * 5, "True"]
    assert result.stderr == ""


def test_a_forked_child_may_have_a_transport_of_its_own() -> None:
    script = """
    pid = os.fork()
    if pid == 0:
        own = modelserver_transport.Transport(["127.0.0.1:0"], [ECHO])
        own.start()
        print(own.next_calls(0.01), own.stop(1), flush=True)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """

    result = run(script, begin=BEGIN_SERVER)  # grpc's channels may crash a forked child at its end

    assert result.stdout.splitlines() == ["([], [], [], None, []) True", "0"]
    assert result.stderr == ""


def test_a_forked_child_that_ends_leaves_the_parents_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    result = run(
        f"""
    other = modelserver_transport.Transport(["unix:{path}"], [ECHO])
    other.start()
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.path.exists("{path}"))
    """,
        begin=BEGIN_SERVER,
    )

    assert (result.stdout, result.stderr) == ("0 True\n", "")
    assert not path.exists()


def test_connections_wait_while_there_are_no_file_descriptors_left(
    connect: Callable[..., Any],
) -> None:
    script = """
    import resource
    limit = len(os.listdir("/proc/self/fd")) + 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    print(port, flush=True)
    while (calls := transport.next_calls(None)) is not None:
        transport.reply_many(calls[0], calls[2])
    """
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN_SERVER + textwrap.dedent(script)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        connections = [connect(port) for _ in range(50)]
        for connection in connections[:-1]:
            connection.socket.close()

        connections[-1].begin(1)

        assert connections[-1].receive_end(1).kind == 1
        process.terminate()
