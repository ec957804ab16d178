"""The pod's report: the JSON document at `/status`, from a snapshot. Pure.

Only `progress` changes while nothing happens: with time, with calls, and with what is downloaded.
The entity tag covers all the rest, so that whoever polls gets an answer without a body until there
is news.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from modelserver.admin.snapshot import ModelSnapshot, ServerSnapshot, SourceSnapshot
from modelserver.core.state import ManagerState, ServableState
from modelserver.core.storage_totals import StorageTotals
from modelserver.core.stored_version import StoredVersion
from modelserver.errors import (
    FailedPreconditionError,
    NotFoundError,
    ServingError,
    UnauthenticatedError,
    UnimplementedError,
)

JsonDocument: TypeAlias = dict[str, object]

SCHEMA_VERSION = 1
MAX_MESSAGE_LENGTH = 256

_MUTATED = "Mutated"
_MUTATED_MESSAGE = (
    "overwritten in place after it was loaded: what was loaded serves on; export under a new number"
)

_STATE_NAMES = {
    ManagerState.START: "Start",
    ManagerState.LOADING: "Loading",
    ManagerState.AVAILABLE: "Available",
    ManagerState.UNLOADING: "Unloading",
    ManagerState.END: "End",
}

_SOURCE_REASONS: tuple[tuple[type[ServingError], str], ...] = (
    (NotFoundError, "NotFound"),
    (UnauthenticatedError, "CredentialsMissing"),
    (FailedPreconditionError, "Forbidden"),
    (UnimplementedError, "Unsupported"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it goes over the wire: `etag` is weak, `document` what `body` says."""

    document: JsonDocument
    body: bytes
    etag: str


def build_report(snapshot: ServerSnapshot, *, is_ready: bool) -> Report:
    """Say everything about a server that an operator needs to know."""
    document = _document(snapshot, is_ready=is_ready)
    digest = hashlib.sha256(_encode(document)).hexdigest()[:32]
    document = {**document, "progress": _progress(snapshot)}
    return Report(document, _encode(document), f'W/"{digest}"')


def _encode(document: JsonDocument) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _document(snapshot: ServerSnapshot, *, is_ready: bool) -> JsonDocument:
    error = snapshot.config.error
    return {
        "schemaVersion": SCHEMA_VERSION,
        "acceptedConfigSchemas": list(snapshot.accepted_config_schemas),
        "serverVersion": snapshot.server_version,
        "podName": snapshot.pod_name,
        "podUid": snapshot.pod_uid,
        "configHash": snapshot.config.hash,
        "configError": {"hash": error.hash, "message": error.message} if error else None,
        "ready": is_ready,
        "draining": snapshot.is_draining,
        "models": [_model(model) for model in snapshot.models],
    }


def _model(model: ModelSnapshot) -> JsonDocument:
    return {
        "name": model.name,
        "basePath": model.base_path,
        "source": _source(model.source),
        "versions": [_version(state, model) for state in model.states.values()],
        "labels": [
            {"name": name, "version": version, "pending": not _is_available(model, version)}
            for name, version in sorted(model.requested_labels.items())
        ],
    }


def _source(source: SourceSnapshot) -> JsonDocument:
    message = source.error.message if source.error else source.message
    return {
        "accessible": source.is_accessible,
        "reason": source_reason(source.error) if source.error else "",
        "message": shorten(message),
    }


def source_reason(error: ServingError) -> str:
    """The CamelCase word for what keeps a base path from being looked at."""
    return next((word for kind, word in _SOURCE_REASONS if isinstance(error, kind)), "Unavailable")


def _version(state: ServableState, model: ModelSnapshot) -> JsonDocument:
    version = state.id.version
    labels = [name for name, target in model.labels.items() if target == version]
    reason = version_reason(state, is_mutated=version in model.mutated)
    return {
        "version": version,
        "state": _STATE_NAMES[state.manager_state],
        "reason": reason,
        "message": shorten(_MUTATED_MESSAGE if reason == _MUTATED else _version_message(state)),
        "labels": sorted(labels) if state.is_available else [],
        "firstSeenTime": _rfc3339(state.first_seen_time),
        "availableTime": _rfc3339(state.available_time),
        "nextRetryTime": _rfc3339(state.retry_time),
        "storage": _stored(model.stored.get(version), state.seconds_to_available),
    }


def _stored(stored: StoredVersion | None, seconds: float | None) -> JsonDocument:
    """The part of what is known of a version's files that no download changes before its end."""
    transfer = stored.transfer if stored else None
    return {
        "uri": shorten(stored.uri) if stored and stored.uri else None,
        "bytes": stored.size if stored else None,
        "files": stored.files if stored else None,
        "cacheHit": transfer.was_kept if transfer and transfer.is_here else None,
        "secondsToAvailable": None if seconds is None else round(seconds, 3),
    }


def version_reason(state: ServableState, *, is_mutated: bool = False) -> str:
    """The CamelCase word for why a version is where it is; empty where that goes without saying."""
    if state.health is not None:
        return "LoadFailed"
    if state.manager_state is ManagerState.END:
        return "Unloaded"
    if state.is_held_back:
        return "Downloading" if state.is_coming else "Incomplete"
    return _MUTATED if is_mutated else ""


def _version_message(state: ServableState) -> str:
    error = state.health.message if state.health is not None else ""
    return f"{error} ({state.message})" if error and state.message else error or state.message


def _is_available(model: ModelSnapshot, version: int) -> bool:
    state = model.states.get(version)
    return state is not None and state.is_available


def shorten(message: str) -> str:
    """Cut a message to what a report may carry, in characters that JSON and Kubernetes take."""
    text = message.encode(errors="backslashreplace").decode()
    return text if len(text) <= MAX_MESSAGE_LENGTH else f"{text[: MAX_MESSAGE_LENGTH - 1]}…"


def _rfc3339(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# What changes all the time…


def _progress(snapshot: ServerSnapshot) -> JsonDocument:
    return {
        "callsInFlight": snapshot.calls_in_flight,
        "uptimeSeconds": round(snapshot.uptime_seconds, 3),
        "downloads": [line for model in snapshot.models for line in _downloads(model)],
        "storage": _storage(snapshot.storage),
        "nextPolls": {
            model.name: round(max(0.0, model.next_poll - snapshot.now), 3)
            for model in snapshot.models
            if model.next_poll is not None
        },
    }


def _downloads(model: ModelSnapshot) -> list[JsonDocument]:
    return [
        {
            "model": model.name,
            "version": version,
            "uri": shorten(stored.uri),
            "bytesDone": download.size_here,
            "bytesTotal": stored.size,
            "bytesPerSecond": round(download.bytes_per_second),
            "failures": download.failures,
        }
        for version, stored in sorted(model.stored.items(), reverse=True)
        if (download := stored.download) is not None
    ]


def _storage(totals: StorageTotals) -> JsonDocument:
    cache = totals.cache
    fill = cache and {
        "bytes": cache.size,
        "versions": cache.versions,
        "limitBytes": cache.limit,
    }
    calls = [
        {"operation": operation, "outcome": outcome, "count": count}
        for (operation, outcome), count in sorted(totals.calls.items())
    ]
    return {"calls": calls, "cache": fill}
