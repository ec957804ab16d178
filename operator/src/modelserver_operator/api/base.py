"""What all types of the API have in common, and the scalars that they share."""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from modelserver_operator.api.marks import Rule
from modelserver_operator.errors import InvalidSpecError
from modelserver_operator.json_types import JsonObject


class ApiModel(BaseModel):
    """A part of the resource: immutable, camelCase in JSON, snake_case in Python.

    Unknown fields are ignored, so that an older operator can read what a newer one allows.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    @classmethod
    def parse(cls, document: object) -> Self:
        """Read it from JSON.

        Raises:
            InvalidSpecError: names the first field that is wrong, and why.

        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise InvalidSpecError(_first_fault(error)) from error

    def to_json(self) -> JsonObject:
        """Write it as JSON, without the optional fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in fault["loc"])
    return f"{path}: {fault['msg']}" if path else fault["msg"]


def _to_whole_seconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


Timestamp = Annotated[
    AwareDatetime, AfterValidator(_to_whole_seconds), PlainSerializer(_rfc3339, when_used="json")
]
"""A moment in whole seconds of UTC, as Kubernetes keeps them; finer parts are cut."""


def _cut(length: int) -> BeforeValidator:
    def cut(text: object) -> object:
        if isinstance(text, str) and len(text) > length:
            return text[: length - 1] + "…"
        return text

    return BeforeValidator(cut)


Word = Annotated[str, _cut(63), StringConstraints(max_length=63)]
"""A state, a reason or a label that pods report; a longer one is cut, so that it can be stored."""

RowMessage = Annotated[str, _cut(256), StringConstraints(max_length=256)]
"""What went wrong with one version; a longer text is cut, and ends with an ellipsis then."""

Message = Annotated[str, _cut(1024), StringConstraints(max_length=1024)]
"""A sentence or a list for people; a longer text is cut, and ends with an ellipsis then."""

Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 64,
            "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""An amount as Kubernetes writes it: 500m, 8Gi, 2."""

VersionNumber = Annotated[int, WithJsonSchema({"type": "integer", "format": "int64", "minimum": 0})]
"""The number that is a version's folder name."""

OBJECT_NAME = Rule(
    "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
    "must be the name of a Kubernetes object: lower-case letters, digits, '-' and '.', "
    "with a letter or digit at both ends",
)
"""For every field that names another object."""
