"""What a field's declaration says to the API server beyond its type.

Marks go into a field's or a model's `json_schema_extra`: `hot(...)` and `cold(...)` for fields of
the spec, `extra(...)` where a change has no meaning (status) or is said further up. A field without
hot or cold is what the field around it is.
"""

from dataclasses import dataclass

from pydantic.config import JsonDict
from pydantic.types import JsonValue

CHANGE = "x-change"
"""The key under which a schema says what a change of the field costs. It never leaves the API
package: in the CRD it is a sentence of the description, in the reference a column.
"""

HOT = "Hot: a change takes effect without a restart."
COLD = "Cold: changing it restarts the pods."


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in CEL over the marked value (`self`), which the API server checks on every write.

    `message` is what it answers otherwise: it says what to write instead.
    """

    cel: str
    message: str


def hot(*rules: Rule, **keywords: JsonValue) -> JsonDict:
    """Mark a field whose change restarts no pod. Otherwise like `extra`."""
    return change(HOT, *rules, **keywords)


def cold(*rules: Rule, **keywords: JsonValue) -> JsonDict:
    """Mark a field whose change replaces the pods. Otherwise like `extra`."""
    return change(COLD, *rules, **keywords)


def change(sentence: str, *rules: Rule, **keywords: JsonValue) -> JsonDict:
    """Mark a field that is sometimes hot and sometimes cold: `sentence` says when, and begins with
    the one or the other word. Otherwise like `extra`.
    """
    return {CHANGE: sentence, **extra(*rules, **keywords)}


def extra(*rules: Rule, **keywords: JsonValue) -> JsonDict:
    """Mark a field or a model with rules and with `x-kubernetes-` keywords.

    A keyword is named without its prefix: `list_type="map"` is `x-kubernetes-list-type: map`.
    """
    marks: JsonDict = {
        f"x-kubernetes-{name.replace('_', '-')}": value for name, value in keywords.items()
    }
    if rules:
        marks["x-kubernetes-validations"] = [
            {"rule": rule.cel, "message": rule.message} for rule in rules
        ]
    return marks
