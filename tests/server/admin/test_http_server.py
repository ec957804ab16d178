"""The admin port over real sockets."""

import http.client
import socket
import threading

import pytest

from modelserver.admin import AdminPages, AdminServer, ServerSnapshot, build_report
from modelserver.errors import UnavailableError


class Port:
    """An admin port whose pages say what the test has put there."""

    def __init__(self):
        self.why_not_live = ""
        self.why_not_ready = ""
        self.snapshot = ServerSnapshot(pod_name="mnist-0")
        pages = AdminPages(
            lambda: self.why_not_live,
            lambda: self.why_not_ready,
            lambda: build_report(self.snapshot, is_ready=not self.why_not_ready),
            lambda: b"metric 1\n",
            "text/plain; version=9",
        )
        self.server = AdminServer(0, pages)
        self.number = self.server.start()

    def ask(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.number, timeout=30)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()


@pytest.fixture
def port():
    port = Port()
    yield port
    port.server.stop()


@pytest.mark.parametrize(
    ("path", "part"), [("/livez", "why_not_live"), ("/readyz", "why_not_ready")]
)
def test_probes_are_200_when_well_and_503_with_the_reason_otherwise(port, path, part):
    status, _, body = port.ask(path)
    assert (status, body) == (200, b"ok\n")

    setattr(port, part, "the cat sits on it")
    status, _, body = port.ask(path)
    assert (status, body) == (503, b"the cat sits on it\n")


def test_the_report_is_json_with_a_tag_that_spares_its_body(port):
    status, headers, body = port.ask("/status")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert b'"podName":"mnist-0"' in body

    status, again, body = port.ask("/status", **{"If-None-Match": headers["ETag"]})
    assert (status, again["ETag"], body) == (304, headers["ETag"], b"")

    port.snapshot = ServerSnapshot(pod_name="mnist-1")
    assert port.ask("/status", **{"If-None-Match": headers["ETag"]})[0] == 200


@pytest.mark.parametrize("tags", ["*", '"other", {}', "{}"])
def test_any_of_several_tags_will_do(port, tags):
    tag = port.ask("/status")[1]["ETag"]

    assert port.ask("/status", **{"If-None-Match": tags.format(tag)})[0] == 304


def test_metrics_come_in_the_type_that_they_say(port):
    status, headers, body = port.ask("/metrics")

    assert (status, headers["Content-Type"], body) == (200, "text/plain; version=9", b"metric 1\n")


def test_the_page_needs_no_script_and_allows_none(port):
    status, headers, body = port.ask("/")

    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert b"<h1>mnist-0</h1>" in body


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/status", "/metrics"])
def test_head_is_get_without_a_body(port, path):
    status, _, body = port.ask(path, "HEAD")

    assert (status, body) == (200, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed_here(port, method):
    assert port.ask("/status", method)[0] == 405


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/" + "x" * 20_000, {}), ("/status", {"X-Large": "x" * 20_000})],
)
def test_what_is_too_large_is_refused_and_the_port_answers_on(port, path, headers):
    assert port.ask(path, **headers)[0] == 400
    assert port.ask("/livez")[0] == 200


def test_a_page_that_fails_is_500_and_the_others_answer_on(port):
    port.snapshot = None

    assert port.ask("/status")[0] == 500
    assert port.ask("/livez")[0] == 200


def test_clients_that_send_nothing_keep_nobody_else_waiting_and_do_not_delay_the_end(port):
    with socket.create_connection(("127.0.0.1", port.number)):
        assert port.ask("/livez")[0] == 200
        port.server.stop()

    with pytest.raises(ConnectionError):
        port.ask("/livez")


def test_a_port_in_use_is_told_with_the_flag(port):
    second = AdminServer(port.number, port.server._pages)

    with pytest.raises(UnavailableError) as caught:
        second.start()
    second.stop()

    assert caught.value.message == (
        f"Cannot listen on 0.0.0.0:{port.number} (--admin_port): Address already in use"
    )


def test_it_answers_from_a_thread_of_its_own():
    threads = []
    pages = AdminPages(
        lambda: threads.append(threading.current_thread().name) or "",
        str,
        lambda: build_report(ServerSnapshot(), is_ready=True),
        bytes,
        "",
    )
    server = AdminServer(0, pages)
    port = Port.__new__(Port)
    port.number = server.start()

    port.ask("/livez")
    server.stop()

    assert threads == ["admin"]
