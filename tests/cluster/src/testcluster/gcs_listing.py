"""What Cloud Storage does with listings and fake-gcs-server does not: pages of all there is, and
`fields`.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from testcluster.faults import Listing
from testcluster.gcs_requests import GcsRequest

LARGEST_PAGE = 1000
_OF_PAGES = ("maxResults", "pageToken")
_Fields = dict[str, "_Fields"]
"""The fields of a resource and of those within; none means all of them."""


def unpaged_target(target: str) -> str:
    """The target of the whole listing, of which a page is asked for. The emulator counts objects
    only, and repeats prefixes.
    """
    url = urlsplit(target)
    query = [item for item in parse_qsl(url.query, True) if item[0] not in _OF_PAGES]
    return url._replace(query=urlencode(query)).geturl()


def page_of(listing: Listing, request: GcsRequest, largest: int) -> Listing:
    """The page of a whole listing that the request asks for. What is listed counts, be it an object
    or a prefix; a page's token is the last name of the one before.
    """
    items, prefixes = listing.get("items", []), listing.get("prefixes", [])
    token = request.parameters.get("pageToken", "")
    names = sorted({*(item["name"] for item in items), *prefixes})
    following = [name for name in names if name > token]
    size = min(largest, int(request.parameters.get("maxResults") or 0) or largest)
    of_page = set(following[:size])
    page = {
        "items": [item for item in items if item["name"] in of_page],
        "prefixes": [name for name in prefixes if name in of_page],
        "nextPageToken": following[size - 1] if len(following) > size else "",
    }
    return {"kind": listing["kind"], **{key: value for key, value in page.items() if value}}


def selected(resource: Any, fields: str | None) -> Any:
    """What a `fields` parameter such as "items(name,acl/role),nextPageToken" leaves of a resource;
    all without one.
    """
    if not fields:
        return resource
    return _pruned(resource, _parsed(iter(re.findall(r"[^,()/]+|[,()/]", fields))))


def _parsed(words: Iterator[str]) -> _Fields:
    """The fields up to the closing parenthesis or the end."""
    fields: _Fields = {}
    inmost = fields
    for word in words:
        if word == ")":
            break
        if word == ",":
            inmost = fields
        elif word == "(":
            inmost |= _parsed(words)
        elif word != "/":
            inmost = inmost.setdefault(word, {})
    return fields


def _pruned(resource: Any, fields: _Fields) -> Any:
    if isinstance(resource, list):
        return [_pruned(item, fields) for item in resource]
    if not fields or not isinstance(resource, dict):
        return resource
    return {
        key: _pruned(value, fields.get(key) or fields.get("*") or {})
        for key, value in resource.items()
        if key in fields or "*" in fields
    }
