"""What a request to Cloud Storage asks for is told from its line."""

import pytest

from testcluster.gcs_requests import GcsRequest, RequestRecord, parse_request

OBJECT = "/storage/v1/b/bkt/o/models%2Fm%201%2Fa"


@pytest.mark.parametrize(
    ("method", "target", "kind", "name"),
    [
        ("GET", "/storage/v1/b/bkt/o?prefix=models%2Fm+1%2F&delimiter=%2F", "list", "models/m 1/"),
        ("GET", "/storage/v1/b/bkt/o", "list", ""),
        ("GET", f"{OBJECT}?projection=noAcl", "metadata", "models/m 1/a"),
        ("HEAD", OBJECT, "metadata", "models/m 1/a"),
        ("GET", f"{OBJECT}?alt=media", "read", "models/m 1/a"),
        ("GET", f"/download{OBJECT}?alt=media&generation=7", "read", "models/m 1/a"),
        ("DELETE", f"{OBJECT}?ifGenerationMatch=7", "delete", "models/m 1/a"),
        ("POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=a%2Fb", "upload", "a/b"),
        ("PUT", "/upload/storage/v1/b/bkt/o?upload_id=1", "upload", ""),
        ("PATCH", OBJECT, "other", "models/m 1/a"),
        ("GET", "/storage/v1/b/bkt", "other", ""),
    ],
)
def test_kind_bucket_and_name_are_told(method, target, kind, name):
    request = parse_request(method, target)

    assert (request.kind, request.bucket, request.name) == (kind, "bkt", name)


@pytest.mark.parametrize("target", ["/storage/v1/b", "/", "/batch/storage/v1", "nonsense"])
def test_what_is_not_about_a_bucket_is_other(target):
    assert parse_request("POST", target) == GcsRequest("other")


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        (None, None),
        ("bytes=0-99", (0, 99)),
        ("bytes=100-", (100, None)),
        ("bytes=-5", (-5, None)),
        ("bytes=x-y", None),
        ("bytes", None),
    ],
)
def test_the_bytes_asked_for_are_told(header, asked):
    assert parse_request("GET", f"{OBJECT}?alt=media", header).byte_range == asked


def test_parameters_are_told():
    request = parse_request("GET", f"/download{OBJECT}?alt=media&generation=7")

    assert request.parameters == {"alt": "media", "generation": "7"}


def test_the_record_keeps_the_order_of_arrival_and_what_becomes_of_each():
    record = RequestRecord()
    first, second = record.add(GcsRequest("list")), record.add(GcsRequest("read"))
    record.answered(second, 206)
    record.sending(second, 3)
    record.sending(second, 4)
    record.answered(first, 200)

    assert record.requests() == [
        GcsRequest("list", status=200),
        GcsRequest("read", status=206, sent=7),
    ]


def test_what_was_cleared_stays_so_when_it_is_answered_later():
    record = RequestRecord()
    number = record.add(GcsRequest("list"))
    record.clear()
    record.answered(number, 200)
    record.sending(number, 1)

    assert record.requests() == []
