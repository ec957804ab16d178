"""The body of a request is read to its end and no further."""

from email.message import Message
from io import BytesIO

import pytest

from testcluster.gcs_body import ConnectionOverError
from testcluster.gcs_upload import Upload

NEXT = b"GET / HTTP/1.1\r\n"


def upload(source, **headers):
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return Upload(message, source)


def contents(body, size):
    return b"".join(iter(lambda: body.read(size), b""))


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("sent", "headers"),
    [
        (b"content", {"Content_Length": "7"}),
        (b"3\r\ncon\r\n4;of=it\r\ntent\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}),
        (b"7\r\ncontent\r\n0\r\nTrailer: x\r\n\r\n", {"Transfer_Encoding": "chunked"}),
    ],
)
def test_it_ends_where_the_next_request_begins(sent, headers, size):
    source = BytesIO(sent + NEXT)

    assert contents(upload(source, **headers), size) == b"content"
    assert source.read() == NEXT


@pytest.mark.parametrize(
    ("sent", "headers"),
    [(b"", {}), (b"0\r\n\r\n", {"Transfer_Encoding": "chunked"})],
)
def test_there_may_be_none(sent, headers):
    source = BytesIO(sent + NEXT)
    body = upload(source, **headers)

    assert (body.read(), body.read()) == (b"", b"")
    assert source.read() == NEXT


def test_what_nobody_read_is_discarded():
    source = BytesIO(b"content" + NEXT)
    body = upload(source, Content_Length="7")
    body.read(2)

    body.discard()

    assert source.read() == NEXT


@pytest.mark.parametrize(
    ("sent", "headers"),
    [
        (b"cont", {"Content_Length": "7"}),
        (b"7\r\ncont", {"Transfer_Encoding": "chunked"}),
        (b"4\r\ncont\r\n", {"Transfer_Encoding": "chunked"}),
        (b"nonsense\r\n", {"Transfer_Encoding": "chunked"}),
    ],
)
def test_one_that_breaks_off_is_no_shorter_one(sent, headers):
    with pytest.raises(ConnectionOverError):
        contents(upload(BytesIO(sent), **headers), 100)
