"""Pages and fields are as Cloud Storage gives them."""

import pytest

from testcluster.gcs_listing import page_of, selected, unpaged_target
from testcluster.gcs_requests import GcsRequest

LISTING = {
    "kind": "storage#objects",
    "items": [{"name": "b", "size": "1"}, {"name": "d", "size": "2"}],
    "prefixes": ["a/", "c/"],
}


def page(largest=1000, **parameters):
    return page_of(LISTING, GcsRequest("list", parameters=parameters), largest)


def test_pages_are_taken_from_objects_and_prefixes_together_in_their_order():
    first, second = page(largest=3), page(largest=3, pageToken="c/")

    assert first == {
        "kind": "storage#objects",
        "items": LISTING["items"][:1],
        "prefixes": ["a/", "c/"],
        "nextPageToken": "c/",
    }
    assert second == {"kind": "storage#objects", "items": LISTING["items"][1:]}


@pytest.mark.parametrize(("wanted", "names"), [("1", 1), ("3", 2), ("0", 2)])
def test_a_client_may_want_smaller_pages_but_no_larger_ones(wanted, names):
    listing = page(largest=2, maxResults=wanted)

    assert len(listing.get("items", [])) + len(listing.get("prefixes", [])) == names


def test_all_of_it_is_one_page_without_a_token():
    assert page(largest=4) == LISTING


def test_for_a_page_the_whole_listing_is_asked_for():
    target = "/storage/v1/b/bkt/o?prefix=m%2F&maxResults=7&delimiter=%2F&pageToken=m%2Fa&fields="

    assert unpaged_target(target) == "/storage/v1/b/bkt/o?prefix=m%2F&delimiter=%2F&fields="


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (None, LISTING),
        ("prefixes", {"prefixes": ["a/", "c/"]}),
        ("nextPageToken", {}),
        ("items(name),kind", {"items": [{"name": "b"}, {"name": "d"}], "kind": "storage#objects"}),
        ("items/size", {"items": [{"size": "1"}, {"size": "2"}]}),
        ("items", {"items": LISTING["items"]}),
        ("*", LISTING),
        ("items(name,size)", {"items": LISTING["items"]}),
    ],
)
def test_fields_choose_what_is_left(fields, left):
    assert selected(LISTING, fields) == left
