"""EventBudget: how many events each ModelServer may cause, so that none floods the cluster."""

from collections.abc import Callable


class EventBudget:
    """A token bucket for each key: `burst` at once, then one every `refill_seconds`.

    Keys whose bucket is full again are forgotten. Not thread-safe.
    """

    def __init__(self, burst: int, refill_seconds: float, monotonic: Callable[[], float]) -> None:
        self._burst = burst
        self._refill_seconds = refill_seconds
        self._monotonic = monotonic
        # When each key's bucket will be full again: all that a bucket needs to know.
        self._full_at: dict[str, float] = {}

    def take(self, key: str) -> bool:
        """Take a token of `key`; False when there is none."""
        now = self._monotonic()
        full_at = max(self._full_at.get(key, now), now) + self._refill_seconds
        if full_at - now > self._burst * self._refill_seconds:
            return False
        self._full_at[key] = full_at
        self._forget_full(now)
        return True

    def _forget_full(self, now: float) -> None:
        full = [key for key, full_at in self._full_at.items() if full_at <= now]
        for key in full:
            del self._full_at[key]
