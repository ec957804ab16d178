"""Which versions leave the cache when it needs room. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A version in the cache, whole or not: its `address`, its `size` in bytes once it is whole,
    how many of them are `on_disk` now, when (epoch seconds) it was `last_used`, and whether
    somebody uses or fetches it: such an entry stays.
    """

    address: str
    size: int
    on_disk: int
    last_used: float
    is_in_use: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """How much there is, in bytes: the cache's own `limit` (None = none) for all entries together,
    and of the disk `free` of `total`.
    """

    limit: int | None
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """What to do for the sake of new bytes: the addresses to drop, in this order, and how many
    bytes are lacking though all of them have gone; 0 = there is room.
    """

    addresses: tuple[str, ...]
    lacking: int


RESERVED_SHARE = 0.1
"""Of a disk that is not ours alone: below it a kubelet evicts pods. A reason to drop what nobody
uses, and none to refuse what is needed."""


def plan_eviction(entries: Iterable[Entry], room: Room, needed: int) -> Eviction:
    """Decide what leaves so that `needed` more bytes have room, and what is being fetched.

    The least recently used goes first, and no more goes than must.
    """
    entries = list(entries)
    over_limit = reserve = 0
    if room.limit is None:
        reserve = int(room.total * RESERVED_SHARE)
    else:
        over_limit = sum(entry.size for entry in entries) + needed - room.limit
    over_disk = needed + sum(entry.size - entry.on_disk for entry in entries if entry.is_in_use)
    over_disk -= room.free
    dropped: list[str] = []
    for entry in sorted(entries, key=lambda entry: (entry.last_used, entry.address)):
        must_go = over_limit > 0 or (over_disk + reserve > 0 and entry.on_disk > 0)
        if must_go and not entry.is_in_use:
            dropped.append(entry.address)
            over_limit -= entry.size
            over_disk -= entry.on_disk
    return Eviction(tuple(dropped), max(0, over_limit, over_disk))
