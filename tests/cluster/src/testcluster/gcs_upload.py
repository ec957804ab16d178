"""The body of a request, for whoever passes it on."""

from email.message import Message
from io import BufferedIOBase

from testcluster.gcs_body import ConnectionOverError

_BLOCK = 1 << 18


class Upload:
    """Reads what a client sends with one request, by its length or in chunks, and not a byte of the
    next request. Raises ConnectionOverError if the client leaves before the end.
    """

    def __init__(self, headers: Message, source: BufferedIOBase) -> None:
        self.is_chunked = "Transfer-Encoding" in headers
        self._source = source
        self._left = 0 if self.is_chunked else int(headers.get("Content-Length") or 0)
        self._has_more_chunks = self.is_chunked

    def read(self, size: int = _BLOCK) -> bytes:
        """At most so many bytes; none at the end."""
        if not self._left and self._has_more_chunks:
            self._begin_chunk()
        content = self._source.read(min(size, self._left))
        self._left -= len(content)
        if self._left and not content:
            raise ConnectionOverError
        if self._has_more_chunks and not self._left:
            self._source.readline()
        return content

    def discard(self) -> None:
        """Read what is left, so that the next request begins where the next line is read."""
        while self.read():
            pass

    def _begin_chunk(self) -> None:
        size, _, _ = self._source.readline().partition(b";")
        try:
            self._left = int(size, 16)
        except ValueError as error:  # nothing, too: it left
            raise ConnectionOverError from error
        if not self._left:
            self._has_more_chunks = False
            while self._source.readline().strip():
                pass  # trailers are of no interest
