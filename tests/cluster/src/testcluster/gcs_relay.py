"""One client's connection through the proxy: its requests, what befalls them, their answers."""

import http.client
import json
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

from testcluster.faults import (
    BlackHole,
    Listing,
    ListingFault,
    ReplaceObject,
    Script,
    Status,
    changes,
    comes_before,
    touches,
)
from testcluster.gcs_body import Body, BodySender, ConnectionOverError, hold
from testcluster.gcs_emulator import GcsEmulator
from testcluster.gcs_listing import page_of, selected, unpaged_target
from testcluster.gcs_preconditions import conditional_target, generation_in, is_refused
from testcluster.gcs_requests import GcsRequest, RequestRecord, parse_request
from testcluster.gcs_upload import Upload
from testcluster.gcs_upstream import OpenSockets, Upstream

_WITHOUT_BODY = (http.client.NO_CONTENT, http.client.NOT_MODIFIED)
# By RFC 9110 these end at the next hop, and here each answer's length is set anew.
_OF_ONE_HOP = frozenset(
    (
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


@dataclass(frozen=True)
class Surroundings:
    """What all connections of one proxy share."""

    emulator: GcsEmulator
    script: Script
    record: RequestRecord
    sockets: OpenSockets
    page_size: int


@dataclass(frozen=True)
class Answer:
    """What a client is to get, unless something happens to it on the way."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: Body


class Relay(BaseHTTPRequestHandler):
    """Serves one connection on a thread of its own, until it ends."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, surroundings: Surroundings, *connection: Any) -> None:
        self._shared = surroundings
        self._upstream = Upstream(surroundings.emulator, surroundings.sockets)
        super().__init__(*connection)  # returns when the connection has ended

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            pass  # the client sees for itself
        finally:
            self._upstream.close()

    def log_message(self, format: str, *args: Any) -> None:
        """The record has it all."""

    def relay(self) -> None:
        """Answer the request that has just been read, whatever becomes of it."""
        request = parse_request(self.command, self.path, self.headers.get("Range"))
        number = self._shared.record.add(request)
        upload = Upload(self.headers, self.rfile)
        answer = self._befallen(request) or self._passed_on(request, upload)
        upload.discard()
        self._shared.record.answered(number, answer.status)
        self._send_head(answer)
        if self._has_body(answer.status):
            self._sender(request, number, answer).send(answer.body)

    # http.server looks for these names.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = relay  # noqa: N815

    def _befallen(self, request: GcsRequest) -> Answer | None:
        """What comes instead of the emulator's answer, if anything does."""
        for injection in self._shared.script.take(request, comes_before):
            match injection.fault:
                case Status() as error:
                    return _error(error)
                case BlackHole():
                    hold(self.connection, injection)
                case ReplaceObject(content):
                    self._replace(request, content)
        return None

    def _passed_on(self, request: GcsRequest, upload: Upload) -> Answer:
        try:
            return self._emulators_answer(request, upload)
        except ConnectionOverError:
            raise
        except (OSError, http.client.HTTPException) as error:
            self._upstream.close()
            url = self._shared.emulator.url
            return _error(Status(502, f"The GCS emulator at {url} does not answer: {error!r}"))

    def _emulators_answer(self, request: GcsRequest, upload: Upload) -> Answer:
        target = conditional_target(request, self.path)
        if request.kind == "list":
            target = unpaged_target(target)
        response = self._upstream.ask(self.command, target, self._passed_headers(), upload)
        generation = response.getheader("X-Goog-Generation")
        if self.command == "HEAD" or (request.kind == "read" and response.length is not None):
            body = Body(response.readinto, _content_length(response), _first_byte(response))
        else:
            content = self._with_links_to_here(response.read())
            generation = generation or generation_in(content)
            body = _body_of(self._as_asked(request, response.status, content))
        if is_refused(request, response.status, generation, partial(self._is_there, request)):
            self._upstream.close()
            return _error(Status(412))
        return Answer(response.status, response.reason, response.getheaders(), body)

    def _with_links_to_here(self, content: bytes) -> bytes:
        """Clients read what `mediaLink` leads to, and that shall not bypass the proxy."""
        there, here = self._shared.emulator.url, f"http://{self.headers['Host']}"
        return content.replace(f'"{there}/'.encode(), f'"{here}/'.encode())

    def _as_asked(self, request: GcsRequest, status: int, content: bytes) -> bytes:
        """A page of a listing, with what faults make of it; the fields that the client wants."""
        if request.kind not in ("list", "metadata") or status != http.client.OK:
            return content
        resource = json.loads(content)
        if request.kind == "list":
            resource = self._falsified(request, page_of(resource, request, self._shared.page_size))
        return json.dumps(selected(resource, request.parameters.get("fields"))).encode()

    def _falsified(self, request: GcsRequest, listing: Listing) -> Listing:
        for injection in self._shared.script.take(request, changes(listing)):
            if isinstance(injection.fault, ListingFault):
                listing = injection.fault.rewritten(listing)
        return listing

    def _send_head(self, answer: Answer) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers:
            if name.lower() not in _OF_ONE_HOP and name.lower() != "content-length":
                self.send_header(name, value)
        if answer.status not in _WITHOUT_BODY:
            self.send_header("Content-Length", str(answer.body.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _sender(self, request: GcsRequest, number: int, answer: Answer) -> BodySender:
        met = []
        if http.client.OK <= answer.status < http.client.MULTIPLE_CHOICES:
            fits = touches(answer.body.first, answer.body.length)
            met = self._shared.script.take(request, fits)
        return BodySender(
            self.connection,
            met,
            partial(self._shared.record.sending, number),
            partial(self._replace, request),
        )

    def _has_body(self, status: int) -> bool:
        return self.command != "HEAD" and status not in _WITHOUT_BODY

    def _passed_headers(self) -> list[tuple[str, str]]:
        """As they came, "Host" as well: of that the emulator makes links, too."""
        return [item for item in self.headers.items() if item[0].lower() not in _OF_ONE_HOP]

    def _is_there(self, request: GcsRequest) -> bool:
        return self._shared.emulator.metadata(request.bucket, request.name) is not None

    def _replace(self, request: GcsRequest, content: bytes) -> None:
        self._shared.emulator.put(request.bucket, request.name, content)


def _error(error: Status) -> Answer:
    headers = [("Content-Type", "application/json; charset=UTF-8")]
    reason = http.client.responses.get(error.code, "")
    return Answer(error.code, reason, headers, _body_of(error.body()))


def _body_of(content: bytes) -> Body:
    return Body(BytesIO(content).readinto, len(content))


def _content_length(response: http.client.HTTPResponse) -> int:
    return int(response.getheader("Content-Length") or 0)


def _first_byte(response: http.client.HTTPResponse) -> int:
    """The offset at which the body begins in the object."""
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    unit_and_first, _, _ = (response.getheader("Content-Range") or "").partition("-")
    return int(unit_and_first.removeprefix("bytes "))
