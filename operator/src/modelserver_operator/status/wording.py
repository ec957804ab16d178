"""How messages name pods and count: so that they change only when the matter does."""

import re
from collections.abc import Iterable, Sequence

_MOST_NAMES = 3
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:?\d\d)?:?\s*")
_NUMBER = re.compile(r"\d+")


def names(all_names: Iterable[str], most: int = _MOST_NAMES) -> str:
    """List the first few: `a, b, c and 4 more`."""
    listed = tuple(all_names)
    rest = len(listed) - most
    return f"{', '.join(listed[:most])} and {rest} more" if rest > 0 else ", ".join(listed)


def pods(pod_names: Sequence[str]) -> str:
    """`pod a`, or `pods a, b and 4 more`."""
    return f"{'pod' if len(pod_names) == 1 else 'pods'} {names(pod_names)}"


def count_of_pods(count: int) -> str:
    """`1 pod`, `2 pods`."""
    return f"{count} pod{'' if count == 1 else 's'}"


def times(count: int) -> str:
    """Say roughly how often: an exact count would make each crash of a pod a write."""
    if count >= 100:
        return "more than a hundred times"
    if count >= 10:
        return "ten times or more"
    return "several times" if count > 1 else "once"


def last_line(text: str) -> str:
    """The last line of a container's final words, without the times in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _TIMESTAMP.sub("", lines[-1]) if lines else ""


def sentence(text: str) -> str:
    """End it with one full stop, and begin it with a capital letter unless with a field's name."""
    text = text.strip().rstrip(".")
    is_word = text.partition(" ")[0].isalpha()
    return f"{text[:1].upper() if is_word else text[:1]}{text[1:]}." if text else ""


def differ_in_numbers_only(one: str, other: str) -> bool:
    """Whether two messages say the same but for sizes, counts or times."""
    return _NUMBER.sub("#", one) == _NUMBER.sub("#", other)
