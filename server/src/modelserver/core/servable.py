"""The nouns everything else speaks in: which servable, which version, which data, which request."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from modelserver.errors import InvalidArgumentError, ServingError

DataT = TypeVar("DataT")


@dataclass(frozen=True, slots=True, order=True)
class ServableId:
    """One version of one servable: `name` is the model's name, `version` its number (int64, larger
    is newer).
    """

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


@dataclass(frozen=True, slots=True)
class ServableData(Generic[DataT]):
    """What a `Source` emits for one version: its id with the data that leads to it, or the error
    that stands there.

    `data` is small: a storage path, a `Loader`. `error` set means that the version is aspired but
    cannot be had; the manager publishes it as END with that error. `revision` identifies the
    content where the source can tell: a version that failed to load, and comes twice in a row under
    one other revision, was still being written, and is tried again at once. `origin` says from
    where the source has it: the same number from another origin is another version, and takes the
    place of the first.
    """

    id: ServableId
    data: DataT | None = None
    error: ServingError | None = None
    revision: Hashable = None
    origin: Hashable = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.error is None):
            raise InvalidArgumentError(
                f"ServableData of {self.id} needs data or an error, not both"
            )


@dataclass(frozen=True, slots=True)
class ServableRequest:
    """Asks a manager for a handle: by exact version, by label, or the latest (earliest) one that is
    available.

    Build it with one of the class methods. `str(request)` is the form used in error messages.
    """

    name: str
    version: int | None = None
    label: str | None = None
    earliest_available: bool = False

    @classmethod
    def latest(cls, name: str) -> "ServableRequest":
        """The highest available version of `name`."""
        return cls(name)

    @classmethod
    def earliest(cls, name: str) -> "ServableRequest":
        """The lowest available version of `name`."""
        return cls(name, earliest_available=True)

    @classmethod
    def specific(cls, name: str, version: int) -> "ServableRequest":
        """Exactly `version`, available or refused."""
        return cls(name, version=version)

    @classmethod
    def labelled(cls, name: str, label: str) -> "ServableRequest":
        """The version that `label` is assigned to."""
        return cls(name, label=label)

    def __str__(self) -> str:
        if self.version is not None:
            return f"Specific({self.name}, {self.version})"
        if self.label is not None:
            return f"Label({self.name}, {self.label})"
        return f"Earliest({self.name})" if self.earliest_available else f"Latest({self.name})"
