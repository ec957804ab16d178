"""GcsStore: exports in Google Cloud Storage. The only importer of Google's libraries."""

import base64
import json
import logging
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
import urllib3
from google.api_core import exceptions as api_exceptions
from google.api_core.retry import Retry
from google.auth import exceptions as auth_exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from modelserver.core.storage_path import FileInfo
from modelserver.errors import (
    FailedPreconditionError,
    NotFoundError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
)
from modelserver.sources.storage.base import CallKind
from modelserver.sources.storage.gcs_errors import (
    HOW_TO_AUTHENTICATE,
    Asked,
    bucket_of,
    error_of_status,
    error_without_answer,
)
from modelserver.sources.storage.object_paths import (
    ObjectPath,
    ancestors,
    child_names,
    is_placeholder,
    parse_object_uri,
)

_log = logging.getLogger(__name__)

_PIECE_BYTES = 1 << 20
_CONNECT_SECONDS, _SILENCE_SECONDS = 10.0, 30.0
_LIST_SECONDS = 10.0

PATIENCE_SECONDS = 2.0
"""Enough for a hiccup that is not worth telling; what lasts longer, the next polls find out."""

_CONNECTIONS = 64

_VERSIONS_FIELDS = "items(name),prefixes,nextPageToken"
_FILES_FIELDS = "items(name,size,generation,crc32c,md5Hash,contentEncoding),nextPageToken"

_MAX_TEXT_BYTES = 500

_REFUSED = (auth_exceptions.GoogleAuthError, api_exceptions.GoogleAPIError)
_NO_ANSWER = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class _AnswerError(Exception):
    """An answer to a read that is no content: its HTTP status and what it says."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class GcsStore:
    """An `ObjectStore` over every bucket that the process's credentials may read. Thread-safe.

    The credentials are Google's application default ones, looked for at the first call and, until
    there are some, at each; with `is_anonymous` there are none. STORAGE_EMULATOR_HOST names another
    service, as for all of Google's libraries. A listing is a class A operation for each thousand
    names, a read of up to 16 MB a class B operation. A listing that fails in a way that may pass is
    repeated for `patience_seconds`.
    """

    def __init__(
        self, *, is_anonymous: bool = False, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._is_anonymous = is_anonymous
        self._patience_seconds = patience_seconds
        self._making = threading.Lock()
        self._client: storage.Client | None = None
        self._counting = threading.Lock()
        self._counts: Counter[CallKind] = Counter()

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`: one call for each thousand names."""
        path = parse_object_uri(base_path)
        with self._errors_of(base_path, "list"):
            listing = self._list(path, _VERSIONS_FIELDS, delimiter="/")
            files = self._blobs_of(listing)
            names = child_names(path.prefix, listing.prefixes)
        if not names and not files:
            self._check_exists(base_path, path)
        return names

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`; a file's tag is its generation."""
        path = parse_object_uri(version_path)
        with self._errors_of(version_path, "list"):
            blobs = self._blobs_of(self._list(path, _FILES_FIELDS))
        if not blobs:
            self._check_exists(version_path, path)
        return {
            blob.name.removeprefix(path.prefix): _file_info(blob, path)
            for blob in blobs
            if not is_placeholder(blob.name)
        }

    def read(
        self, version_path: str, name: str, info: FileInfo, start: int, stop: int
    ) -> Generator[bytes, None, None]:
        """Yield a range of exactly the generation that was listed."""
        if stop <= start:
            return
        path = parse_object_uri(version_path)
        uri = f"gs://{path.bucket}/{path.prefix}{name}"
        with self._errors_of(uri, "read"):
            response = self._get(path.bucket, f"{path.prefix}{name}", info.tag, (start, stop))
            with response:
                self._check_answer(response, uri, info, start)
                yield from _pieces(response, uri, stop - start)

    def upload_version(self, directory: Path, version_path: str) -> None:
        """Copy a version's `directory` to where nothing is yet, its graph last.

        Raises:
            FailedPreconditionError: there is a version already, or part of one.
            ServingError: as for the other methods.

        """
        path = parse_object_uri(version_path)
        bucket = self._connect().bucket(path.bucket)
        for file in _upload_order(directory):
            name = f"{path.prefix}{file.relative_to(directory).as_posix()}"
            uri = f"gs://{path.bucket}/{name}"
            try:
                with self._errors_of(uri, "write"):
                    # Generation 0: only where there is no object of that name.
                    bucket.blob(name).upload_from_filename(str(file), if_generation_match=0)
            except NotFoundError as error:
                if isinstance(error.__cause__, api_exceptions.PreconditionFailed):
                    raise FailedPreconditionError(f"{uri} exists already") from error
                raise

    def counts(self) -> Mapping[CallKind, int]:
        """How many calls there have been: `list`, `metadata`, `read`, `write`, by HTTP status."""
        with self._counting:
            return dict(self._counts)

    # Listing…

    def _list(self, path: ObjectPath, fields: str, delimiter: str | None = None) -> Any:
        return self._connect().list_blobs(
            path.bucket,
            prefix=path.prefix,
            delimiter=delimiter,
            fields=fields,
            timeout=(_CONNECT_SECONDS, _LIST_SECONDS),
            retry=Retry(
                _may_pass,
                0.25,
                1.0,
                timeout=self._patience_seconds,
                on_error=self._count_failed_list,
            ),
        )

    def _blobs_of(self, listing: Any) -> list[storage.Blob]:
        """Read all pages, counting each."""
        blobs: list[storage.Blob] = []
        for page in listing.pages:
            self._count("list", "200")
            blobs.extend(page)
        return blobs

    def _count_failed_list(self, error: Exception) -> None:
        if _may_pass(error):  # the others are counted where they come out
            self._count("list", _outcome(error))

    def _check_exists(self, uri: str, path: ObjectPath) -> None:
        """Tell a place that is missing, or a file, from an empty bucket. For what lists nothing."""
        if not path.prefix:
            return
        bucket = self._connect().bucket(path.bucket)
        with self._errors_of(uri, "metadata"):
            for name in ancestors(path):
                is_file = bucket.blob(name).exists(timeout=_LIST_SECONDS)
                self._count("metadata", "200" if is_file else "404")
                if is_file:
                    raise FailedPreconditionError(f"{uri}; Not a directory")
        raise NotFoundError(f"{uri} not found")

    # Reading…

    def _get(
        self, bucket: str, name: str, generation: str, span: tuple[int, int]
    ) -> requests.Response:
        client = self._connect()
        url = (
            f"{client.api_endpoint}/download/storage/v1/b/{quote(bucket, safe='')}/o/"
            f"{quote(name, safe='')}?alt=media&generation={generation}"
        )
        response: requests.Response = client._http.get(
            url,
            # As it is stored: sizes and checksums are of that.
            headers={"Range": f"bytes={span[0]}-{span[1] - 1}", "Accept-Encoding": "gzip"},
            stream=True,
            timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS),
        )
        return response

    def _check_answer(
        self, response: requests.Response, uri: str, info: FileInfo, start: int
    ) -> None:
        status = response.status_code
        if status not in (200, 206):
            raise _AnswerError(status, _text_of(response))
        generation = response.headers.get("X-Goog-Generation", info.tag)
        if generation != info.tag:
            raise NotFoundError(f"{uri} was replaced since it was listed")
        if status == 200 and start:
            raise UnavailableError(f"{uri}: the service ignores byte ranges")
        self._count("read", str(status))

    # Connecting…

    def _connect(self) -> storage.Client:
        with self._making:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self) -> storage.Client:
        credentials = AnonymousCredentials() if self._is_anonymous else None
        try:
            client = storage.Client(project=None, credentials=credentials)
        except (auth_exceptions.GoogleAuthError, OSError, ValueError) as error:
            if _is_without_answer(error):
                raise error_without_answer(error, "gs://") from error
            raise UnauthenticatedError(
                f"There are no usable credentials for gs:// ({error}). {HOW_TO_AUTHENTICATE}"
            ) from error
        _prepare(client._http, client.api_endpoint)
        return client

    def _forget_client(self) -> None:
        """Look for credentials anew: a key may have been mounted, or exchanged."""
        with self._making:
            self._client = None

    def _principal(self) -> str:
        client = self._client
        credentials = None if client is None else client._credentials
        if isinstance(credentials, AnonymousCredentials):
            return "who has no credentials"
        names = ("service_account_email", "signer_email", "account")
        found = [getattr(credentials, name, "") for name in names]
        return next((name for name in found if name and "@" in name), "the server's account")

    # Failing, and counting…

    @contextmanager
    def _errors_of(self, uri: str, operation: str) -> Iterator[None]:
        """Let calls for `uri` fail in our words."""
        try:
            yield
        except ServingError:
            raise
        except (_AnswerError, *_NO_ANSWER, *_REFUSED) as error:
            failure = self._translate(error, uri, operation)
            self._count(operation, _outcome(error))
            if isinstance(failure, UnauthenticatedError):
                self._forget_client()
            raise failure from error

    def _translate(self, error: Exception, uri: str, operation: str) -> ServingError:
        if isinstance(error, api_exceptions.RetryError) and error.cause is not None:
            error = error.cause
        if isinstance(error, _AnswerError | api_exceptions.GoogleAPICallError) and error.code:
            place = bucket_of(uri) if _is_about_bucket(error) else uri
            asked = Asked(place, operation, self._principal())
            return error_of_status(int(error.code), _said(error), asked)
        if _is_without_answer(error):
            return error_without_answer(error, uri)
        if isinstance(error, auth_exceptions.GoogleAuthError):
            return UnauthenticatedError(
                f"{uri}: no access token is to be had ({error}). {HOW_TO_AUTHENTICATE}"
            )
        return error_without_answer(error, uri)

    def _count(self, operation: str, outcome: str) -> None:
        with self._counting:
            self._counts[CallKind(operation, outcome)] += 1


def _prepare(session: requests.Session, endpoint: str) -> None:
    """Make a session fit for many requests to one endpoint.

    Proxies and certificates come from the environment, as ever, but are looked up once: to do so
    for each request takes a third of a small read.
    """
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS)
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter)
    settings = session.merge_environment_settings(endpoint, {}, None, None, None)
    session.proxies, session.verify = dict(settings["proxies"]), settings["verify"]
    session.trust_env = False


def _file_info(blob: storage.Blob, path: ObjectPath) -> FileInfo:
    if blob.content_encoding == "gzip":
        raise FailedPreconditionError(
            f"gs://{path.bucket}/{blob.name} is stored with Content-Encoding gzip: upload it as it "
            "is (without gsutil's -z or -Z)"
        )
    crc32c = int.from_bytes(base64.b64decode(blob.crc32c), "big") if blob.crc32c else None
    # Objects composed of others have no MD5, and a CRC alone is too little to tell contents apart.
    digest = blob.md5_hash or ""
    return FileInfo(int(blob.size), str(blob.generation), None, digest, crc32c)


def _pieces(response: requests.Response, uri: str, size: int) -> Generator[bytes, None, None]:
    """Read `size` bytes of an answer's body, as they come."""
    left = size
    while left:
        data = response.raw.read(min(left, _PIECE_BYTES))
        if not data:
            raise UnavailableError(f"{uri}: the answer ended {left} bytes too early")
        left -= len(data)
        yield data


def _upload_order(directory: Path) -> list[Path]:
    """All files, those last by which a version counts as complete."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return sorted(files, key=lambda path: path.parent == directory)


def _may_pass(error: Exception) -> bool:
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return code in (408, 429) or code >= 500
    return isinstance(error, (*_NO_ANSWER, auth_exceptions.TransportError))


def _is_without_answer(error: BaseException | None) -> bool:
    """Whether who hands out access tokens could not be reached, which may pass."""
    if isinstance(error, auth_exceptions.TransportError):
        return True
    if getattr(error, "retryable", False):
        return True
    return error is not None and _is_without_answer(error.__cause__)


def _is_about_bucket(error: Exception) -> bool:
    """Whether a 404 is of a listing, which finds every path in a bucket that exists."""
    return isinstance(error, api_exceptions.NotFound)


def _outcome(error: Exception) -> str:
    if isinstance(error, api_exceptions.RetryError) and error.cause is not None:
        error = error.cause
    code = getattr(error, "code", None)
    return str(int(code)) if isinstance(code, int) else "no answer"


def _said(error: _AnswerError | api_exceptions.GoogleAPICallError) -> str:
    if isinstance(error, _AnswerError):
        return error.text
    response = error.response
    return "" if response is None else _message_in(response.text)


def _text_of(response: requests.Response) -> str:
    return _message_in(
        response.raw.read(_MAX_TEXT_BYTES, decode_content=True).decode(errors="replace")
    )


def _message_in(text: str) -> str:
    """What the service says in an error's body: JSON in most cases, else text."""
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text
    return " ".join(str(message).split())[:_MAX_TEXT_BYTES]
