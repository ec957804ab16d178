"""Rollout: how calls move from one version of a model to the next."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from modelserver_operator.api.base import ApiModel
from modelserver_operator.api.marks import Rule, extra


class RolloutStep(ApiModel):
    """One stage of a canary."""

    weight: int = Field(
        ge=1, le=100, description="Percentage of the calls that the new version gets, 1 to 100."
    )
    hold_seconds: int = Field(
        default=600, ge=0, le=604_800, description="Seconds until the next step."
    )


class RolloutAnalysis(ApiModel):
    """What the new version must hold to while it is a canary."""

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "has(self.maxErrorRate) || has(self.maxP99Millis)",
                "set maxErrorRate, maxP99Millis or both; without analysis leave it out",
            )
        )
    )

    max_error_rate: Annotated[
        str | None,
        Field(
            min_length=2,
            max_length=8,
            description="Largest share of failed calls, as a percentage with its sign: 0.5%.",
            json_schema_extra=extra(
                Rule(
                    "self.matches('^(100|[0-9]{1,2}([.][0-9]{1,3})?)%$')",
                    "must be a percentage from 0% to 100%, such as 1% or 0.5%",
                )
            ),
        ),
    ] = None
    max_p99_millis: int | None = Field(
        default=None,
        ge=1,
        le=3_600_000,
        description="Largest 99th percentile of the calls' latency, in milliseconds.",
    )
    min_requests: int = Field(
        default=100,
        ge=1,
        le=1_000_000_000,
        description="Calls to the new version below which nothing is concluded.",
    )
    window_seconds: int = Field(
        default=60, ge=1, le=86_400, description="Seconds over which calls are counted."
    )
    on_fail: Literal["Rollback", "Pause"] = Field(
        default="Rollback",
        description="Rollback returns all calls to the old version; Pause keeps the weight and "
        "waits for somebody.",
    )


class Rollout(ApiModel):
    """How calls move to a new version."""

    strategy: Literal["Canary"] = Field(
        default="Canary",
        description="Canary: old and new version serve side by side in each pod, and the new one "
        "gets a growing share of the calls that name neither a version nor a label.",
    )
    steps: tuple[RolloutStep, ...] = Field(
        min_length=1,
        max_length=20,
        description="Stages in their order. After the last one the new version gets all calls.",
        json_schema_extra=extra(
            Rule(
                "self.map(step, step.weight).isSorted() && "
                "self.all(step, self.exists_one(other, other.weight == step.weight))",
                "weights must rise from step to step, such as 5, 25, 100",
            ),
            list_type="atomic",
        ),
    )
    analysis: RolloutAnalysis | None = Field(
        default=None,
        description="What the new version must hold to in each step. Without it only time decides.",
    )
