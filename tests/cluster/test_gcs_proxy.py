"""The proxy before the emulator, where nothing is injected: faithful, and reliable itself."""

import contextlib
import http.client
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from testcluster.errors import ClusterError
from testcluster.faults import BlackHole, Slow, Stall, Status
from testcluster.gcs_emulator import GcsEmulator, object_path
from testcluster.gcs_faults import FaultProxy
from testcluster.gcs_requests import GcsRequest
from testcluster.waiting import wait_until


def test_a_read_passes_unchanged(client, put):
    generation = put("a/b", b"content")

    got = client.read("a/b")

    assert (got.status, got.body) == (200, b"content")
    assert got.headers["X-Goog-Generation"] == str(generation)
    assert got.headers["X-Goog-Hash"].startswith("crc32c=")


@pytest.mark.parametrize(
    ("asked", "content", "answered"),
    [("0-3", b"cont", "bytes 0-3/7"), ("4-", b"ent", "bytes 4-6/7"), ("-2", b"nt", "bytes 5-6/7")],
)
def test_so_do_ranges(client, put, asked, content, answered):
    put("a", b"content")

    got = client.read("a", asked)

    assert (got.status, got.body, got.headers["Content-Range"]) == (206, content, answered)


def test_a_range_beyond_the_end_is_refused_and_an_empty_object_is_read(client, put):
    put("empty", b"")

    assert client.read("empty", "5-9").status == 416
    assert client.read("empty").body == b""
    assert client.read("no such").status == 404


def test_a_listing_and_metadata_pass_with_links_that_lead_to_the_proxy(client, put, gcs_faults):
    put("models/m/1/a", b"content")

    listing = client.list(prefix="models/m/", delimiter="/").json
    metadata = client.metadata("models/m/1/a").json

    assert listing["prefixes"] == ["models/m/1/"]
    assert metadata["name"] == "models/m/1/a"
    assert metadata["mediaLink"].startswith(gcs_faults.url)
    assert listing["prefixes"] == ["models/m/1/"]


def test_a_head_has_the_length_and_no_body_and_the_next_request_is_answered(client, put):
    put("a", b"content")

    got = client.ask("HEAD", object_path(client.bucket, "a"))

    assert (got.status, got.headers["Content-Length"], got.body) == (200, "7", b"")
    assert client.read("a").body == b"content"


def test_an_upload_passes_through(client):
    target = f"/upload/storage/v1/b/{client.bucket}/o?uploadType=media&name=a"
    content = random.Random(1).randbytes(3_000_000)

    got = client.ask("POST", target, content, {"Expect": "100-continue"})

    assert got.json["size"] == "3000000"
    assert client.read("a").body == content


def test_so_does_one_in_chunks_and_the_next_request_on_the_connection(client):
    target = f"/upload/storage/v1/b/{client.bucket}/o?uploadType=media&name=a"

    client.ask("POST", target, iter([b"con", b"te", b"nt"]))
    first = client.connection.sock

    assert client.read("a").body == b"content"
    assert client.connection.sock is first


def test_one_connection_serves_many_requests(client, put):
    put("a", b"content")
    client.read("a")
    first = client.connection.sock

    for _ in range(20):
        assert client.read("a").status == 200
        assert client.read("b").status == 404
        assert client.list().status == 200

    assert client.connection.sock is first


def test_a_client_that_asks_for_an_end_of_the_connection_gets_it(client, put):
    put("a", b"content")

    got = client.ask("GET", client.read_target("a"), headers={"Connection": "close"})

    assert (got.body, got.headers["Connection"]) == (b"content", "close")


def test_32_connections_at_once_all_get_what_they_asked_for(gcs_faults, connect, put):
    contents = {f"o{i}": random.Random(i).randbytes(1 << (i % 21)) for i in range(32)}
    for name, content in contents.items():
        put(name, content)

    def read_all(seed):
        order = random.Random(seed).sample(sorted(contents), 32)
        client = connect(gcs_faults)
        return all(client.read(name).body == contents[name] for name in order)

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(read_all, range(32)))
    requests = gcs_faults.requests()
    assert len(requests) == 32 * 32
    assert all(request.sent == len(contents[request.name]) for request in requests)


def test_a_body_passes_piece_by_piece_as_its_reader_takes_it(client, put, gcs_faults):
    put("big", bytes(128 << 20))  # more than sockets hold
    client.begin("GET", client.read_target("big"))
    answer = client.connection.getresponse()

    assert answer.read(10) == bytes(10)
    assert gcs_faults.requests()[0].sent < 128 << 20
    answer.close()


# What the emulator does not do


@pytest.mark.parametrize("asked", ["read", "metadata", "delete"])
def test_if_generation_match_is_heeded(client, put, asked):
    generation = put("a", b"content")
    ask = getattr(client, asked)

    refused = ask("a", ifGenerationMatch=generation + 1)

    assert refused.status == 412
    assert refused.json["error"]["errors"][0]["reason"] == "conditionNotMet"
    assert ask("a", ifGenerationMatch=0).status == 412
    assert client.read("a").body == b"content"
    assert ask("a", ifGenerationMatch=generation).status == 200


@pytest.mark.parametrize("asked", ["read", "metadata", "delete"])
def test_what_is_not_there_is_not_found_whatever_its_generation(client, asked):
    ask = getattr(client, asked)

    assert ask("none", ifGenerationMatch=7).status == 404
    assert ask("none", ifGenerationMatch=0).status == 404


def test_a_head_heeds_if_generation_match_too(client, put):
    generation = put("a", b"content")
    target = f"{object_path(client.bucket, 'a')}?ifGenerationMatch="

    assert client.ask("HEAD", f"{target}{generation + 1}").status == 412
    assert client.ask("HEAD", f"{target}{generation}").status == 200


def test_a_deletion_deletes_nothing_newer(client, put):
    old = put("a", b"old")
    put("a", b"new")

    assert client.delete("a", ifGenerationMatch=old).status == 412
    assert client.read("a").body == b"new"


def test_a_generation_that_is_no_more_is_not_found(client, put):
    old = put("a", b"old")
    new = put("a", b"new")

    assert client.read("a", generation=old).status == 404
    assert client.read("a", generation=new).body == b"new"


def test_a_listing_comes_in_pages_in_which_prefixes_count(gcs_emulator, connect, put):
    for name in ("m/1/a", "m/1/b", "m/2/a", "m/c", "n"):
        put(name, b"")
    with FaultProxy(gcs_emulator, page_size=2) as proxy:
        client = connect(proxy)
        first = client.list(prefix="m/", delimiter="/").json
        second = client.list(prefix="m/", delimiter="/", pageToken=first["nextPageToken"]).json

    assert (first["prefixes"], first.get("items")) == (["m/1/", "m/2/"], None)
    assert ([item["name"] for item in second["items"]], second.get("prefixes")) == (["m/c"], None)
    assert "nextPageToken" not in second


def test_fields_that_are_not_wanted_do_not_come(client, put):
    put("a", b"content")

    assert client.list(fields="items(name,size)").json == {"items": [{"name": "a", "size": "7"}]}
    assert client.metadata("a", fields="size").json == {"size": "7"}


# The record


def test_requests_are_recorded_as_they_were_asked_and_answered(client, put, gcs_faults):
    put("m/a", b"content")
    client.list(prefix="m/", delimiter="/")
    client.read("m/a", "0-3")
    client.metadata("m/b")
    client.delete("m/a")

    seen = gcs_faults.requests()

    assert [(each.kind, each.name, each.status) for each in seen] == [
        ("list", "m/", 200),
        ("read", "m/a", 206),
        ("metadata", "m/b", 404),
        ("delete", "m/a", 200),
    ]
    read = GcsRequest("read", client.bucket, "m/a", (0, 3), {"alt": "media"}, status=206, sent=4)
    assert seen[1] == read


def test_a_cleared_record_is_empty_and_goes_on(client, gcs_faults):
    client.list()
    gcs_faults.clear()
    assert gcs_faults.requests() == []

    client.metadata("a")

    assert [request.kind for request in gcs_faults.requests()] == ["metadata"]


# Its own reliability


def test_closing_ends_what_waits(gcs_emulator, bucket, put, connect):
    """Black holes, slow and stalled bodies, idle connections, readers that do not read."""
    put("a", bytes(64 << 20))
    proxy = FaultProxy(gcs_emulator)
    injected = [
        proxy.inject(BlackHole(), kind="list"),
        proxy.inject(Stall(after=1), kind="read", when=lambda r: r.byte_range == (0, 1)),
        proxy.inject(Slow(0.001), kind="read", when=lambda r: r.byte_range == (0, 2)),
    ]
    clients = [connect(proxy) for _ in range(5)]
    clients[0].begin("GET", f"/storage/v1/b/{bucket}/o")
    for client, asked in zip(clients[1:], ["0-1", "0-2", "0-", "5-5"], strict=True):
        client.begin("GET", client.read_target("a"), headers={"Range": f"bytes={asked}"})
    assert clients[4].end().body == bytes(1)
    wait_until(lambda: all(each.met for each in injected), "the requests")

    proxy.close()

    assert not proxy.connections()
    for client in clients[:4]:
        with pytest.raises((http.client.HTTPException, OSError)):
            client.end()


def test_nothing_listens_after_closing_and_closing_again_is_nothing(gcs_emulator, connect):
    proxy = FaultProxy(gcs_emulator)
    proxy.close()
    proxy.close()

    with pytest.raises(ConnectionRefusedError):
        connect(proxy).list()


def test_a_client_that_leaves_during_a_body_disturbs_nobody(client, put, gcs_faults):
    put("big", bytes(64 << 20))
    for _ in range(10):
        client.begin("GET", client.read_target("big"))
        client.connection.getresponse().close()
        client.connection.close()

    wait_until(lambda: not gcs_faults.connections(), "the connections to end")
    assert client.list().status == 200


def test_a_client_that_leaves_during_its_upload_leaves_no_object(client, put, gcs_faults):
    netloc = urlsplit(gcs_faults.url)
    with socket.create_connection((netloc.hostname, netloc.port)) as raw:
        path = f"/upload/storage/v1/b/{client.bucket}/o?uploadType=media&name=a"
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\nhalf".encode())
    wait_until(lambda: not gcs_faults.connections(), "the connection to end")

    assert client.metadata("a").status == 404


def test_where_no_emulator_answers_the_proxy_says_so(connect):
    with FaultProxy(GcsEmulator("http://127.0.0.1:1")) as proxy:
        got = connect(proxy).list()

    assert got.status == 502
    assert "http://127.0.0.1:1 does not answer" in got.json["error"]["message"]


class OneAnswerAConnection:
    """A server that says it keeps its connections, and ends each after five bytes of a body."""

    def __init__(self, promised):
        self.ended = threading.Semaphore(0)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.answer = f"HTTP/1.1 200 OK\r\nContent-Length: {promised}\r\n\r\nbytes".encode()
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        with contextlib.suppress(OSError):  # the end of listening
            while True:
                connection, _ = self.listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(self.answer)
                self.ended.release()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listening.close()


def test_a_connection_that_the_emulator_ended_is_made_anew(connect):
    with (
        OneAnswerAConnection(promised=5) as server,
        FaultProxy(GcsEmulator(server.url)) as proxy,
    ):
        client = connect(proxy)
        for _ in range(3):
            assert client.read("a").body == b"bytes"
            server.ended.acquire()


def test_a_body_that_the_emulator_broke_off_stays_so(connect):
    with (
        OneAnswerAConnection(promised=9) as server,
        FaultProxy(GcsEmulator(server.url)) as proxy,
        pytest.raises(http.client.IncompleteRead),
    ):
        connect(proxy).read("a")


def test_what_goes_wrong_in_the_proxy_is_raised_when_it_is_closed(gcs_emulator, connect):
    proxy = FaultProxy(gcs_emulator)
    proxy.inject(Status(503), when=lambda request: 1 / 0)

    with pytest.raises(http.client.RemoteDisconnected):
        connect(proxy).list()
    with pytest.raises(ClusterError, match="ZeroDivisionError"):
        proxy.close()
