"""ModelServer: the resource `modelservers.modelserver.dev`, version v1alpha1."""

from typing import cast

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from modelserver_operator.api.base import ApiModel, Timestamp
from modelserver_operator.api.marks import Rule, extra
from modelserver_operator.api.spec import ModelServerSpec
from modelserver_operator.api.status import ModelServerStatus

GROUP = "modelserver.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ModelServer"
RECONCILE_ANNOTATION = "modelserver.dev/reconcile"
PLURAL = "modelservers"


class Metadata(ApiModel):
    """What the operator reads of an object's metadata."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None


class ModelServer(ApiModel):
    """ModelServer serves machine learning models from one set of equal pods.

    The API server has checked a stored object against the CRD, rules included; `parse` raises
    `InvalidSpecError` for what it could not read all the same. A status that cannot be read is
    taken as empty: it is derived anew anyway.
    """

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
                "metadata.name must be at most 40 lower-case letters, digits and '-', begin with a "
                "letter and not end with '-': Services are named after it",
            ),
        )
    )

    api_version: str = Field(default=API_VERSION, description=f"{API_VERSION}.")
    kind: str = Field(default=KIND, description=f"{KIND}.")
    metadata: Metadata
    spec: ModelServerSpec = Field(description="What is asked for.")
    status: ModelServerStatus = Field(
        default=ModelServerStatus(), description="What is. Written by the operator."
    )

    @field_validator("status", mode="wrap")
    @classmethod
    def _empty_where_unreadable(
        cls, status: object, read: ValidatorFunctionWrapHandler
    ) -> ModelServerStatus:
        try:
            return cast("ModelServerStatus", read(status))
        except ValidationError:
            return ModelServerStatus()

    @property
    def is_paused(self) -> bool:
        """Whether its annotation tells the operator to keep its hands off."""
        return self.metadata.annotations.get(RECONCILE_ANNOTATION) == "paused"
