"""Service: some methods of a server, fed with lists of calls and answering whenever it is ready."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from modelserver.rpc.replies import Replies
from modelserver.rpc.status import error_answer


class MethodCalls(NamedTuple):
    """The calls of one method that arrived together, as parallel lists, oldest first."""

    ids: list[int]
    bodies: list[bytes]
    deadlines: list[float | None] | None
    """Monotonic seconds, None for a call without one; None altogether when no call has one."""

    def deadline(self, place: int) -> float | None:
        """That of one call."""
        return None if self.deadlines is None else self.deadlines[place]

    def of(self, places: Sequence[int]) -> "MethodCalls":
        """Those at some places, which are in order."""
        if len(places) == len(self.ids):
            return self
        deadlines = self.deadlines and [self.deadlines[place] for place in places]
        return MethodCalls(
            [self.ids[place] for place in places],
            [self.bodies[place] for place in places],
            deadlines,
        )


Work: TypeAlias = Callable[[], None]
"""What may take a while: the serve thread does it when it has looked at all that has arrived, or
another when that one is stuck in something. Never raises."""

Handler: TypeAlias = Callable[[MethodCalls, Replies], Iterable[Work] | None]
"""Starts to answer calls. It sends exactly one answer for each id, before it returns or later, from
any thread, or in the work that it returns. Quick: the one serve thread runs it. What it raises
answers those calls that it has not answered."""


class Service(Protocol):
    """What a server is made of. All methods are called by the serve thread."""

    @property
    def methods(self) -> Mapping[str, Handler]:
        """The handler of each method, by full name (`/pkg.Service/Method`). Constant."""

    def cancel(self, ids: Sequence[int]) -> None:
        """Stop working on those of these calls that are this service's: they want no answer any
        more. An answer all the same does no harm.
        """


def method_names(services: Iterable[Service]) -> list[str]:
    """The methods of several services in the order that `RpcServer` and its transport share."""
    return [name for service in services for name in service.methods]


def answer_each(answer: Callable[[bytes], bytes]) -> Handler:
    """The handler of a method whose answers are computed at once, one by one.

    `answer` takes a request's body and returns the reply's, or raises.
    """

    def handle(calls: MethodCalls, replies: Replies) -> None:
        for id, body in zip(calls.ids, calls.bodies, strict=True):
            try:
                replies.send(id, answer(body))
            except Exception as error:  # each call has its own answer
                replies.send(id, error_answer(error))

    return handle
