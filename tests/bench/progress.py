"""How long a comparison still takes."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """Estimates the time left. `expected` says how long each step of a round is thought to take;
    when it has been taken, what it took counts for the rounds that follow. All times are seconds.
    """

    expected: list[float]
    rounds: int
    _done: int = field(default=0, init=False)

    def took(self, seconds: float) -> None:
        """The next step, in their order, has been taken."""
        self.expected[self._done % len(self.expected)] = seconds
        self._done += 1

    @property
    def left(self) -> float:
        """How long the steps take that are still to be taken, in all rounds."""
        rounds, steps = divmod(self._done, len(self.expected))
        return sum(self.expected) * (self.rounds - rounds) - sum(self.expected[:steps])
