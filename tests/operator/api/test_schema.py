from typing import Annotated, Literal

import pytest
from pydantic import ConfigDict, Field, create_model

from modelserver_operator.api.base import ApiModel
from modelserver_operator.api.marks import Rule, cold, extra
from modelserver_operator.api.schema import structural, walk, without
from modelserver_operator.json_types import JsonObject


class Inner(ApiModel):
    """What the type says.

    For readers of the code.
    """

    model_config = ConfigDict(json_schema_extra=extra(Rule("type", "from the type")))

    big_number: int = Field(default=3, description="A number.")


def of(kind: object, default: object = ..., **keywords: object) -> JsonObject:
    """The structural schema of one field."""
    field = Field(default, **keywords)  # type: ignore[call-overload]
    model = create_model("Outer", __base__=ApiModel, field=(kind, field))
    schema: JsonObject = structural(model)["properties"]["field"]
    return schema


def test_a_nested_type_is_written_in_place() -> None:
    schema = of(Inner)

    assert schema["type"] == "object"
    assert schema["properties"]["bigNumber"]["type"] == "integer"
    assert "$ref" not in schema


def test_what_the_field_says_wins_over_what_its_type_says() -> None:
    assert of(Inner, description="The field's.")["description"] == "The field's."


def test_of_a_types_docstring_only_the_first_paragraph_counts() -> None:
    assert of(Inner)["description"] == "What the type says."


def test_elements_of_a_list_are_described_by_the_list() -> None:
    assert "description" not in of(tuple[Inner, ...])["items"]


def test_rules_of_a_field_and_of_its_type_both_hold() -> None:
    schema = of(Inner, json_schema_extra=extra(Rule("field", "from the field")))

    assert [rule["rule"] for rule in schema["x-kubernetes-validations"]] == ["type", "field"]


def test_an_optional_field_is_its_type_without_null_and_without_a_default() -> None:
    schema = of(Inner | None, None, json_schema_extra=cold())

    assert schema["type"] == "object"
    assert schema["x-change"].startswith("Cold")
    assert "anyOf" not in schema
    assert "default" not in schema


def test_a_choice_between_two_types_is_refused() -> None:
    with pytest.raises(ValueError, match="more than one type"):
        of(int | list[str] | None, None)


def test_a_default_object_has_no_nulls() -> None:
    class Choice(ApiModel):
        left: int | None = None
        right: int | None = None

    assert of(Choice, Choice(left=1))["default"] == {"left": 1}


@pytest.mark.parametrize(
    ("kind", "default"), [(str, ""), (tuple[str, ...], ()), (dict[str, str], {})]
)
def test_empty_defaults_are_left_out(kind: object, default: object) -> None:
    assert "default" not in of(kind, default)


@pytest.mark.parametrize(("kind", "default"), [(bool, False), (int, 0), (str, "a")])
def test_defaults_that_say_something_are_kept(kind: object, default: object) -> None:
    assert of(kind, default)["default"] == default


def test_integers_have_the_format_that_holds_their_largest_value() -> None:
    assert of(int, le=2**31 - 1)["format"] == "int32"
    assert of(int, le=2**31)["format"] == "int64"
    assert of(int)["format"] == "int64"


def test_an_object_of_anything_keeps_what_the_schema_does_not_name() -> None:
    assert of(JsonObject) == {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }


def test_lists_are_atomic_unless_they_say_otherwise() -> None:
    assert of(tuple[str, ...])["x-kubernetes-list-type"] == "atomic"
    marked = of(tuple[int, ...], json_schema_extra=extra(list_type="set"))
    assert marked["x-kubernetes-list-type"] == "set"


def test_a_single_choice_is_an_enumeration() -> None:
    assert of(Literal["Only"])["enum"] == ["Only"]
    assert "const" not in of(Literal["Only"])


def test_walking_names_every_place() -> None:
    schema = structural(
        create_model(
            "Outer",
            __base__=ApiModel,
            rows=(tuple[Inner, ...], ...),
            words=(dict[str, Annotated[str, Field(max_length=3)]], ...),
        )
    )

    assert [path for path, _ in walk(schema)] == [
        "",
        "rows",
        "rows[]",
        "rows[].bigNumber",
        "words",
        "words.*",
    ]


def test_a_field_may_have_a_keywords_name_when_keywords_are_dropped() -> None:
    model = create_model("Outer", __base__=ApiModel, default=(int, 1))

    assert without(structural(model), "default")["properties"] == {
        "default": {"type": "integer", "format": "int64"}
    }
