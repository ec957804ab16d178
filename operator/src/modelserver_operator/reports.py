"""PodReport: what one pod says about its models on its admin port, as values.

The server's side of this is its `/status` document. Unknown keys are ignored, so that a newer
server can say more.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from modelserver_operator.errors import ReportError
from modelserver_operator.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class VersionReport:
    """One version of one model in one pod.

    `state` is Start, Loading, Available, Unloading or End; `reason` a CamelCase word or empty.
    `next_retry_time` is when a failed load is tried again.
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
    """Read the body of a pod's `/status`.

    Raises:
        ReportError: it is not a report; says which part is wrong.

    """
    try:
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ReportError("a report is a JSON object")
        return _pod_report(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportError(f"not a pod's report: {type(error).__name__}: {error}") from error


def _pod_report(document: JsonObject) -> PodReport:
    refused = document.get("configError")
    return PodReport(
        pod_uid=document["podUid"],
        pod_name=document.get("podName", ""),
        server_version=document.get("serverVersion", ""),
        accepted_config_schemas=tuple(document.get("acceptedConfigSchemas", (1,))),
        config_hash=document.get("configHash", ""),
        config_error=ConfigError(refused["hash"], refused["message"]) if refused else None,
        ready=bool(document.get("ready")),
        draining=bool(document.get("draining")),
        models=tuple(_model_report(model) for model in document.get("models", ())),
    )


def _model_report(model: JsonObject) -> ModelReport:
    return ModelReport(
        name=model["name"],
        base_path=model.get("basePath", ""),
        source=_source_report(model.get("source") or {}),
        versions=tuple(_version_report(version) for version in model.get("versions", ())),
        labels=tuple(
            LabelReport(label["name"], int(label["version"]), bool(label.get("pending")))
            for label in model.get("labels", ())
        ),
    )


def _source_report(source: JsonObject) -> SourceReport:
    return SourceReport(
        source.get("accessible"), source.get("reason", ""), source.get("message", "")
    )


def _version_report(version: JsonObject) -> VersionReport:
    return VersionReport(
        version=int(version["version"]),
        state=version["state"],
        reason=version.get("reason", ""),
        message=version.get("message", ""),
        labels=tuple(version.get("labels", ())),
        first_seen_time=_time(version, "firstSeenTime"),
        available_time=_time(version, "availableTime"),
        next_retry_time=_time(version, "nextRetryTime"),
    )


def _time(fields: Mapping[str, object], key: str) -> datetime | None:
    text = fields.get(key)
    return datetime.fromisoformat(str(text)) if text else None
