"""Structural schemas, which the API server demands, from the schemas that pydantic writes.

Pure. A structural schema has no references and no null type, one type for each field, and says so
where a field keeps what the schema does not name.
"""

from collections.abc import Callable, Iterator

from modelserver_operator.api.base import ApiModel
from modelserver_operator.json_types import JsonObject

_DROPPED = ("title", "$defs")
_NO_DEFAULT: tuple[object, ...] = (None, [], {}, "")
LARGEST_INT32 = 2**31 - 1


def structural(model: type[ApiModel]) -> JsonObject:
    """Turn a model into a structural schema.

    The marks of `marks.py` are in it, the key `x-change` among them. Empty defaults are left out:
    they say nothing that absence does not.
    """
    schema = model.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}))


def children(schema: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Go through the schemas directly below: fields as `.name`, items of a list as `[]`, values of
    a map as `.*`.
    """
    for name, field in schema.get("properties", {}).items():
        yield f".{name}", field
    if "items" in schema:
        yield "[]", schema["items"]
    if "additionalProperties" in schema:
        yield ".*", schema["additionalProperties"]


def walk(schema: JsonObject, path: str = "") -> Iterator[tuple[str, JsonObject]]:
    """Go through a schema and everything below it, depth first, each with its path."""
    yield path.lstrip("."), schema
    for step, child in children(schema):
        yield from walk(child, path + step)


def without(schema: JsonObject, *keys: str) -> JsonObject:
    """Copy a schema without some keywords, at every depth."""
    kept = {key: value for key, value in schema.items() if key not in keys}
    return with_children(kept, lambda child: without(child, *keys))


def _structural(node: JsonObject, definitions: JsonObject) -> JsonObject:
    schema = _merged(node, definitions)
    for key in _DROPPED:
        schema.pop(key, None)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    _settle_description(schema)
    _settle_default(schema)
    _settle_integer(schema)
    _settle_open_object(schema)
    if not schema.get("properties", True):
        del schema["properties"]  # the API server would leave it out too
    if schema.get("type") == "array":
        schema.setdefault("x-kubernetes-list-type", "atomic")
    structured = with_children(schema, lambda child: _structural(child, definitions))
    for key in ("items", "additionalProperties"):
        # The field says what its elements are; the type's docstring would say it again.
        structured.get(key, {}).pop("description", None)
    return structured


def _merged(node: JsonObject, definitions: JsonObject) -> JsonObject:
    """Replace a reference, or a choice between something and null, by what it stands for.

    What the field says about itself wins over what its type says; rules of both hold.
    """
    target: JsonObject | None = None
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
    elif any(choice == {"type": "null"} for choice in node.get("anyOf", ())):
        target = _only_choice(node)
    if target is None:
        return dict(node)
    inner = _merged(target, definitions)
    outer = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
    rules = [
        *inner.get("x-kubernetes-validations", ()),
        *outer.get("x-kubernetes-validations", ()),
    ]
    return inner | outer | ({"x-kubernetes-validations": rules} if rules else {})


def _only_choice(node: JsonObject) -> JsonObject:
    choices = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
    if len(choices) != 1:
        raise ValueError(f"a field has more than one type: {node}")
    return dict(choices[0])


def _settle_description(schema: JsonObject) -> None:
    """Keep the first paragraph: what follows in a docstring is for readers of the code."""
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].partition("\n\n")[0].split())


def _settle_default(schema: JsonObject) -> None:
    if "default" not in schema:
        return
    default = _without_nulls(schema.pop("default"))
    if default not in _NO_DEFAULT:
        schema["default"] = default


def _without_nulls(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(part) for key, part in value.items() if part is not None}


def _settle_integer(schema: JsonObject) -> None:
    if schema.get("type") == "integer":
        small = schema.get("maximum", LARGEST_INT32 + 1) <= LARGEST_INT32
        schema.setdefault("format", "int32" if small else "int64")


def _settle_open_object(schema: JsonObject) -> None:
    if schema.get("additionalProperties") is True:
        del schema["additionalProperties"]
        schema["x-kubernetes-preserve-unknown-fields"] = True


def with_children(schema: JsonObject, change: Callable[[JsonObject], JsonObject]) -> JsonObject:
    """Copy a schema with each of the schemas directly below replaced."""
    copy = dict(schema)
    if "properties" in schema:
        copy["properties"] = {name: change(field) for name, field in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            copy[key] = change(schema[key])
    return copy
