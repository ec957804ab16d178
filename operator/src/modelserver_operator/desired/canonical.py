"""One text for equal JSON values, and its hash."""

import hashlib
import json


def canonical_json(value: object) -> str:
    """The text of a JSON value: keys sorted, no spaces. Equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """The SHA-256 of `text` in UTF-8, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
