"""JsonObject: reads the members of a JSON object with their types. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

from modelserver.errors import InvalidArgumentError

ValueT = TypeVar("ValueT")

INT64 = range(-(2**63), 2**63)

_MAX_SECONDS = 1e9
"""Beyond what anybody lives to see; a float has room for far more than clocks and threads do."""


@dataclass(frozen=True, slots=True)
class JsonObject:
    """The object at `path` of a document; the document itself is at "".

    Each method reads one member. It raises `InvalidArgumentError`, with the path, what is expected
    and what is there, for a value of another kind, and for a missing member without a default.
    """

    path: str
    members: Mapping[str, object]

    @classmethod
    def at(cls, path: str, value: object) -> "JsonObject":
        """Take `value` for the object at `path`."""
        if not isinstance(value, dict):
            raise refusal(path, "an object", value)
        return cls(path, value)

    def text(self, key: str, default: str | None = None) -> str:
        """Read a string."""
        return self._read(key, default, "a string", _is_text)

    def boolean(self, key: str, default: bool | None = None) -> bool:  # as the others
        """Read true or false."""
        return self._read(key, default, "true or false", _is_boolean)

    def integer(self, key: str, limits: range, default: int | None = None) -> int:
        """Read a whole number within `limits`."""
        number = self._read(key, default, _whole(limits), _is_integer)
        if number not in limits:
            raise refusal(self.path_of(key), _whole(limits), number)
        return number

    def integers(self, key: str, limits: range) -> tuple[int, ...]:
        """Read a list of whole numbers within `limits`; a missing one is empty."""
        items = self._read(key, [], "a list", _is_list)
        by_index = JsonObject(self.path_of(key), {f"[{i}]": item for i, item in enumerate(items)})
        return tuple(by_index.integer(index, limits) for index in by_index.members)

    def seconds(self, key: str) -> float | None:
        """Read a duration; None where there is none."""
        if self.members.get(key) is None:
            return None
        return float(self._read(key, None, "a number of seconds from 0 to 1e9", _is_seconds))

    def one_of(self, key: str, choices: Mapping[str, ValueT], default: str) -> ValueT:
        """Read one of the words that are the keys of `choices`; returns what it stands for."""
        word = self.text(key, default)
        if word not in choices:
            raise refusal(self.path_of(key), " or ".join(choices), word)
        return choices[word]

    def child(self, key: str) -> "JsonObject | None":
        """Read an object; None where there is none."""
        value = self.members.get(key)
        return None if value is None else JsonObject.at(self.path_of(key), value)

    def children(self, key: str) -> "Iterator[JsonObject]":
        """Read a list of objects."""
        for index, item in enumerate(self._read(key, None, "a list", _is_list)):
            yield JsonObject.at(f"{self.path_of(key)}[{index}]", item)

    def path_of(self, key: str) -> str:
        """Where the member `key` is in the document."""
        separator = "." if self.path and not key.startswith("[") else ""
        return f"{self.path}{separator}{key}"

    def _read(
        self,
        key: str,
        default: ValueT | None,
        expected: str,
        fits: Callable[[object], TypeGuard[ValueT]],
    ) -> ValueT:
        if key in self.members:
            value = self.members[key]
            if not fits(value):
                raise refusal(self.path_of(key), expected, value)
            return value
        if default is None:
            raise InvalidArgumentError(f"{self.path_of(key)}: {expected} is expected, is missing")
        return default


def refusal(path: str, expected: str, value: object) -> InvalidArgumentError:
    """Say what is expected at `path`, and what is there instead."""
    text = json.dumps(value)
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    place = path or "the document"
    return InvalidArgumentError(f"{place}: {expected} is expected, found {shown}")


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _is_boolean(value: object) -> TypeGuard[bool]:
    return isinstance(value, bool)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: object) -> TypeGuard[float]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 <= value <= _MAX_SECONDS  # false for NaN


def _whole(limits: range) -> str:
    if limits == INT64:
        return "a whole number of 64 bits"
    return f"a whole number from {limits.start} to {limits.stop - 1}"
