"""One question to the cluster's DNS."""

import pytest

from testcluster import dns


def test_a_dns_question_is_as_the_standard_has_it():
    assert dns.query("a.bc")[12:] == b"\x01a\x02bc\x00\x00\x01\x00\x01"


@pytest.mark.parametrize(
    ("flags", "count", "good"),
    [
        pytest.param(b"\x81\x80", 1, True, id="an address"),
        pytest.param(b"\x81\x80", 0, False, id="no address"),
        pytest.param(b"\x81\x83", 1, False, id="no such name"),
        pytest.param(b"\x01\x00", 1, False, id="a question"),
    ],
)
def test_a_dns_answer_is_good_when_it_has_an_address_and_no_error(flags, count, good):
    assert dns.has_address(b"\0\1" + flags + b"\0\1" + bytes([0, count]) + b"\0" * 4) is good
