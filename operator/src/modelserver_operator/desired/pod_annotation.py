"""The annotation on a pod that makes its kubelet refresh the pod's ConfigMap mount at once.

Any change of it does. Its value says for which config document it is, how often that has been tried
and when, so that deciding whether to try again needs no memory:
`0123456789abcdef attempt=2 at=2026-01-31T12:00:00Z`.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

# The first refresh may have met a kubelet that had not seen the new ConfigMap yet. Kubelets refresh
# by themselves within a minute or two, so what still lags then is not helped by haste.
_FIRST_PAUSE = timedelta(seconds=3)
_LONGEST_PAUSE = timedelta(minutes=5)

_FORM = re.compile(r"(?P<hash>\S+) attempt=(?P<attempt>\d{1,9}) at=(?P<at>\S+)")


class Attempt(NamedTuple):
    """One refresh that was asked for. `at` is in UTC."""

    config_hash: str
    number: int
    at: datetime

    def value(self) -> str:
        """The annotation's value."""
        moment = self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{self.config_hash} attempt={self.number} at={moment}"


def next_attempt(annotation: str, config_hash: str, now: datetime) -> Attempt | None:
    """The refresh to ask for at `now` of a pod that has yet to report `config_hash`.

    None while the last one, in `annotation`, may still have its effect: 3 s at first, then twice as
    long each time, up to 5 minutes.
    """
    last = parse_attempt(annotation)
    if last is None or last.config_hash != config_hash:
        return Attempt(config_hash, 1, now)
    pause = min(_FIRST_PAUSE * 2 ** min(last.number - 1, 10), _LONGEST_PAUSE)
    # A time ahead of now is from a clock that was wrong, or is.
    is_waiting = last.at <= now < last.at + pause
    return None if is_waiting else Attempt(config_hash, last.number + 1, now)


def parse_attempt(annotation: str) -> Attempt | None:
    """Read the annotation's value; None when it is not of this form."""
    match = _FORM.fullmatch(annotation)
    if match is None:
        return None
    try:
        at = datetime.fromisoformat(match["at"])
    except ValueError:
        return None
    return Attempt(
        match["hash"], int(match["attempt"]), at if at.tzinfo else at.replace(tzinfo=UTC)
    )
