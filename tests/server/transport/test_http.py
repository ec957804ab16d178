"""Answers to requests that gRPC's own clients never make, as curl sees them.

Where the headers alone are refused there is no body: curl forgets answers that do not wait for it.
"""

import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "modelserver_transport", reason="modelserver_transport is not installed: build server/transport"
)
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

ECHO = "/test.Texts/Echo"


def message(body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(body)) + body


@pytest.fixture
def ask(serve: Callable[..., Any], tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Make a request; returns headers and trailers, and the status code of HTTP as `status`."""
    server = serve(max_message_bytes=1000)

    def ask(body: bytes, *headers: str, path: str = ECHO, method: str = "POST") -> dict[str, str]:
        (tmp_path / "body").write_bytes(body)
        fields = {"content-type": "application/grpc", "te": "trailers"}
        fields |= dict(header.split(": ") for header in headers)
        arguments = [f"-H{name}:{value}" for name, value in fields.items()]
        arguments += ["--data-binary", f"@{tmp_path}/body", "-o", f"{tmp_path}/answer"]
        url = f"http://127.0.0.1:{server.port}{path}"
        result = subprocess.run(
            ["curl", "-sv", "--http2-prior-knowledge", "-X", method, "-m", "20", *arguments, url],
            capture_output=True,
            text=True,
            check=True,
        )
        lines = re.findall(r"^< (.+?)\r?$", result.stderr, re.MULTILINE)
        found = {"status": lines[0].split()[1]}
        return found | dict(line.split(": ", 1) for line in lines[1:] if ": " in line)

    return ask


Ask = Callable[..., dict[str, str]]


def test_a_well_formed_request_is_answered(ask: Ask) -> None:
    answer = ask(message(b"hello"))

    assert answer == {"status": "200", "content-type": "application/grpc", "grpc-status": "0"}


@pytest.mark.parametrize(
    "kind", ["application/grpc+proto", "application/grpc;charset=x", "application/grpc"]
)
def test_kinds_of_grpc_are_accepted(ask: Ask, kind: str) -> None:
    assert ask(message(b"x"), f"content-type: {kind}")["grpc-status"] == "0"


@pytest.mark.parametrize("kind", ["application/json", "application/grpc-web", "", "text/plain"])
def test_other_content_is_refused(ask: Ask, kind: str) -> None:
    assert ask(b"", f"content-type: {kind}")["status"] == "415"


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_other_methods_of_http_are_refused(ask: Ask, method: str) -> None:
    answer = ask(b"", method=method)

    assert (answer["status"], answer["allow"]) == ("405", "POST")


@pytest.mark.parametrize(
    ("body", "headers", "code", "text"),
    [
        (b"", [], "12", "exactly one"),
        (b"\0\0\0", [], "13", "ends before"),
        (message(b"hello")[:8], [], "13", "ends before"),
        (message(b"hello", 1), [], "13", "no encoding configured"),
        (message(b"hello", 1), ["grpc-encoding: identity"], "13", "no encoding configured"),
        (message(b"hello", 1), ["grpc-encoding: gzip"], "13", "Decompression failed"),
        (message(b"hello", 1), ["grpc-encoding: br"], "12", "not supported"),
        (message(bytes(1001)), [], "8", "SERVER: Received message larger than max (1001 vs. 1000)"),
        (b"", ["grpc-timeout: soon"], "13", "Error parsing 'grpc-timeout' metadata"),
    ],
)
def test_what_cannot_be_served_is_answered_as_grpc_does(
    ask: Ask, body: bytes, headers: list[str], code: str, text: str
) -> None:
    answer = ask(body, *headers)

    assert (answer["status"], answer["grpc-status"]) == ("200", code)
    assert text in answer["grpc-message"]


def test_a_client_learns_which_encodings_are_understood(ask: Ask) -> None:
    answer = ask(message(b"x", 1), "grpc-encoding: br")

    assert answer["grpc-accept-encoding"] == "identity, deflate, gzip"


def test_an_unknown_encoding_does_not_matter_to_a_message_without(ask: Ask) -> None:
    assert ask(message(b"x"), "grpc-encoding: br")["grpc-status"] == "0"


def test_the_first_message_of_several_is_answered(ask: Ask) -> None:
    assert ask(message(b"one") + message(b"two"))["grpc-status"] == "0"


@pytest.mark.parametrize("path", ["/", "/test.Texts/Other", "/test.Texts", "/test.Texts/Echo/"])
def test_an_unknown_path_is_answered_unimplemented(ask: Ask, path: str) -> None:
    answer = ask(b"", path=path)

    assert (answer["grpc-status"], answer["grpc-message"]) == ("12", "Method not found!")
