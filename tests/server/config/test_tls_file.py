"""SSLConfig in protobuf text format, and what is wrong with it."""

import logging

import pytest

from modelserver.config import TlsFile, parse_tls
from modelserver.config_watch import ConfigWatch
from modelserver.errors import InvalidArgumentError
from modelserver.rpc.transport.options import TlsCredentials


def test_every_field_is_read(tmp_path):
    text = b"""
        server_key: '-----BEGIN\\nKEY' server_cert: 'CERT'
        custom_ca: 'CA' client_verify: true
    """

    credentials = parse_tls(text, tmp_path)

    assert credentials == TlsCredentials(b"CERT", b"-----BEGIN\nKEY", b"CA", True)


def test_clients_need_no_certificate_unless_it_is_said(tmp_path):
    credentials = parse_tls(b"server_key: 'KEY' server_cert: 'CERT' custom_ca: 'CA'", tmp_path)

    assert credentials == TlsCredentials(b"CERT", b"KEY", b"CA", False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "ssl.pbtxt: server_key is missing: give the PEM itself"),
        (b"server_key: 'KEY'", "ssl.pbtxt: server_cert is missing: give the PEM itself"),
        (
            b"server_key: 'KEY' server_cert: 'CERT' client_verify: true",
            "ssl.pbtxt: client_verify needs a custom_ca to verify clients by",
        ),
        (
            b"server_key: 'KEY'\n servers: 1",
            "ssl.pbtxt is not a SSLConfig in protobuf text format: see line 2, column 2",
        ),
        (b"\xff", "ssl.pbtxt is not a SSLConfig in protobuf text format: see byte 0"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path, text, message):
    with pytest.raises(InvalidArgumentError) as caught:
        parse_tls(text, tmp_path / "ssl.pbtxt")

    assert message in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        b"server_key: 'SECRET'",
        b"server_key: 'SECRET",
        b"server_key: SECRET",
        b"server_key: 'SECRET' server_cert: 'CERT'",
    ],
)
def test_the_key_is_in_no_error_and_in_no_log(tmp_path, caplog, text):
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "ssl.pbtxt"
    watch = ConfigWatch(TlsFile(path, lambda content: parse_tls(content, path)), lambda _: None)

    path.write_bytes(text)
    watch.poll()

    assert caplog.messages
    assert "SECRET" not in caplog.text
    assert "SECRET" not in repr(watch.status)
    assert "SECRET" not in repr(TlsCredentials(b"CERT", b"SECRET"))


def test_a_file_that_went_wrong_is_told_once_and_what_it_said_before_stands(tmp_path, caplog):
    path = tmp_path / "ssl.pbtxt"
    path.write_bytes(b"server_key: 'KEY' server_cert: 'CERT'")
    in_force = []
    watch = ConfigWatch(TlsFile(path, lambda content: parse_tls(content, path)), in_force.append)
    watch.poll()
    path.write_bytes(b"server_key: 'NEW'")

    for _ in range(3):
        watch.poll()

    assert in_force == [TlsCredentials(b"CERT", b"KEY")]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
