"""PodReport: what one pod says about its models on its admin port, as values.

The server's side of this is its `/status` document. Unknown keys are ignored, so that a newer
server can say more. Nothing else is taken on trust: a pod runs what its author put into it, and
what is wrong or too much must end here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from modelserver_operator.errors import ReportError
from modelserver_operator.json_types import JsonObject

T = TypeVar("T")

# Far more than a server has: they bound what one report can cost.
_MOST_MODELS = 256
_MOST_VERSIONS = 2000
_MOST_LABELS = 256
_MOST_SCHEMAS = 64
_LONGEST_NAME = 128
_LONGEST_TEXT = 4096
_LARGEST_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class VersionReport:
    """One version of one model in one pod.

    `state` is Start, Loading, Available, Unloading or End; `reason` a CamelCase word or empty.
    `next_retry_time` is when a failed load, or download, is tried again.
    """

    version: int
    state: str
    reason: str = ""
    message: str = ""
    labels: tuple[str, ...] = ()
    first_seen_time: datetime | None = None
    available_time: datetime | None = None
    next_retry_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class LabelReport:
    """A version label; `pending` while the version it names is not available in the pod."""

    name: str
    version: int
    pending: bool = False


@dataclass(frozen=True, slots=True)
class SourceReport:
    """Whether the model's base path can be listed; None before the first listing has ended."""

    accessible: bool | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model in one pod."""

    name: str
    base_path: str = ""
    source: SourceReport = SourceReport()
    versions: tuple[VersionReport, ...] = ()
    labels: tuple[LabelReport, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigError:
    """Why a pod refused the config document whose hash this is."""

    hash: str
    message: str


@dataclass(frozen=True, slots=True)
class PodReport:
    """Everything that one pod says.

    `config_hash` is that of the config document in force, empty before the first.
    """

    pod_uid: str
    pod_name: str = ""
    server_version: str = ""
    accepted_config_schemas: tuple[int, ...] = (1,)
    config_hash: str = ""
    config_error: ConfigError | None = None
    ready: bool = False
    draining: bool = False
    models: tuple[ModelReport, ...] = ()


def parse_report(body: bytes) -> PodReport:
    """Read the body of a pod's `/status`. Long texts are cut.

    Raises:
        ReportError: it is not a report, or one of more than a server has; says which part is wrong.

    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"not a pod's report: {type(error).__name__}: {error}") from error
    if not isinstance(document, dict):
        raise ReportError("not a pod's report: it is no JSON object")
    report = _pod_report(document)
    versions = sum(len(model.versions) for model in report.models)
    if versions > _MOST_VERSIONS:
        raise ReportError(f"a report of {versions} versions: more than {_MOST_VERSIONS}")
    return report


def _pod_report(document: JsonObject) -> PodReport:
    return PodReport(
        pod_uid=_text(document, "podUid"),
        pod_name=_text(document, "podName"),
        server_version=_text(document, "serverVersion"),
        accepted_config_schemas=_list(
            document, "acceptedConfigSchemas", int, _MOST_SCHEMAS, default=[1]
        ),
        config_hash=_text(document, "configHash"),
        config_error=_config_error(_field(document, "configError", dict, {})),
        ready=_field(document, "ready", bool, default=False),
        draining=_field(document, "draining", bool, default=False),
        models=tuple(map(_model_report, _list(document, "models", dict, _MOST_MODELS))),
    )


def _config_error(refused: JsonObject) -> ConfigError | None:
    return ConfigError(_text(refused, "hash"), _text(refused, "message")) if refused else None


def _model_report(model: JsonObject) -> ModelReport:
    return ModelReport(
        name=_name(model),
        base_path=_text(model, "basePath"),
        source=_source_report(_field(model, "source", dict, {})),
        versions=tuple(map(_version_report, _list(model, "versions", dict, _MOST_VERSIONS))),
        labels=tuple(map(_label_report, _list(model, "labels", dict, _MOST_LABELS))),
    )


def _label_report(label: JsonObject) -> LabelReport:
    pending = _field(label, "pending", bool, default=False)
    return LabelReport(_name(label), _version(label), pending)


def _source_report(source: JsonObject) -> SourceReport:
    accessible = _optional(source, "accessible", bool)
    return SourceReport(accessible, _text(source, "reason"), _text(source, "message"))


def _version_report(version: JsonObject) -> VersionReport:
    labels = _list(version, "labels", str, _MOST_LABELS)
    return VersionReport(
        version=_version(version),
        state=_text(version, "state"),
        reason=_text(version, "reason"),
        message=_text(version, "message"),
        labels=tuple(map(_clean, labels)),
        first_seen_time=_time(version, "firstSeenTime"),
        available_time=_time(version, "availableTime"),
        next_retry_time=_time(version, "nextRetryTime"),
    )


# Single fields: null is as good as missing.


def _field(fields: JsonObject, key: str, kind: type[T], default: T) -> T:
    value = _optional(fields, key, kind)
    return default if value is None else value


def _optional(fields: JsonObject, key: str, kind: type[T]) -> T | None:
    value = fields.get(key)
    # Not `isinstance`: true is no number.
    if value is not None and type(value) is not kind:
        raise ReportError(f"not a pod's report: {key} is no {kind.__name__}")
    return value


def _list(
    fields: JsonObject, key: str, kind: type[T], most: int, default: Sequence[T] = ()
) -> tuple[T, ...]:
    items = _field(fields, key, list, list(default))
    if len(items) > most:
        raise ReportError(f"a report with {len(items)} {key}: more than {most}")
    if any(type(item) is not kind for item in items):
        raise ReportError(f"not a pod's report: {key} has what is no {kind.__name__}")
    return tuple(items)


def _text(fields: JsonObject, key: str) -> str:
    return _clean(_field(fields, key, str, ""))


def _clean(text: str) -> str:
    """What can be stored: half a surrogate pair, which JSON can carry, cannot."""
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode()


def _name(fields: JsonObject) -> str:
    name = _text(fields, "name")
    if not 0 < len(name) <= _LONGEST_NAME:
        raise ReportError(f"not a pod's report: a name of {len(name)} characters")
    return name


def _version(fields: JsonObject) -> int:
    version = _field(fields, "version", int, -1)
    if not 0 <= version <= _LARGEST_VERSION:
        raise ReportError("not a pod's report: a version is no number from 0 to 2**63 - 1")
    return version


def _time(fields: JsonObject, key: str) -> datetime | None:
    text = _text(fields, key)
    try:
        moment = datetime.fromisoformat(text) if text else None
        if moment is None or moment.tzinfo is not None:
            return moment and moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ReportError(f"not a pod's report: {key} is no time: {text[:64]!r}")
