"""The config document: what the operator writes, and one clear sentence where it is wrong."""

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.config import ModelConfig, ModelList
from modelserver.config_document import parse_config_document
from modelserver.core.policy import availability_preserving, resource_preserving
from modelserver.errors import InvalidArgumentError
from modelserver.inference.batching_options import BatchingOptions
from modelserver.sources.versions import All, Latest, Specific


def parse(document):
    return parse_config_document(json.dumps(document).encode())


def parse_model(**members):
    document = {"schemaVersion": 1, "models": [{"name": "m", "basePath": "/m"} | members]}
    return parse(document).models[0]


def refusal(document):
    with pytest.raises(InvalidArgumentError) as caught:
        parse(document)
    return caught.value.message


def refusal_of_model(**members):
    return refusal({"schemaVersion": 1, "models": [{"name": "m", "basePath": "/m"} | members]})


def test_everything_that_can_be_said_is_read():
    found = parse(
        {
            "schemaVersion": 1,
            "pollRequest": "2026-11-23",
            "models": [
                {
                    "name": "mnist",
                    "basePath": "/mnt/modelserver/claims/c/mnist",
                    "platform": "lookup",
                    "versionPolicy": {"specific": {"versions": [1, 2]}},
                    "labels": {"stable": 1},
                    "transitionPolicy": "ResourcePreserving",
                    "pollSeconds": 30,
                    "readyMarker": "_SUCCESS",
                    "batching": {
                        "maxBatchSize": 32,
                        "timeoutMicros": 1000,
                        "maxEnqueuedBatches": 20,
                        "allowedBatchSizes": [8, 32],
                    },
                    "await": False,
                }
            ],
        }
    )

    assert found == ModelList(
        (
            ModelConfig(
                name="mnist",
                base_path="/mnt/modelserver/claims/c/mnist",
                platform="lookup",
                version_policy=Specific(frozenset({1, 2})),
                version_labels={"stable": 1},
                transition_policy=resource_preserving,
                poll_wait_seconds=30.0,
                ready_marker="_SUCCESS",
                batching=BatchingOptions(
                    max_batch_size=32,
                    batch_timeout_micros=1000,
                    max_enqueued_batches=20,
                    allowed_batch_sizes=(8, 32),
                ),
                is_awaited=False,
            ),
        ),
        poll_request="2026-11-23",
    )


def test_what_is_left_out_has_a_default():
    assert parse_model() == ModelConfig(
        name="m",
        base_path="/m",
        platform="tensorflow",
        version_policy=Latest(1),
        transition_policy=availability_preserving,
        poll_wait_seconds=None,
        is_awaited=True,
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"latest": {}}, Latest(1)),
        ({"latest": {"count": 3}}, Latest(3)),
        ({"all": {}}, All()),
        ({"specific": {"versions": []}}, Specific()),
        ({"latest": None, "all": {}}, All()),
    ],
)
def test_each_version_policy_is_read(policy, expected):
    assert parse_model(versionPolicy=policy).version_policy == expected


@pytest.mark.parametrize("member", ["readyMarker", "batching", "versionPolicy", "labels"])
def test_null_is_the_same_as_nothing_where_there_is_a_choice(member):
    assert parse_model(**{member: None}) == parse_model()


def test_keys_of_a_newer_operator_are_ignored():
    document = {"schemaVersion": 1, "models": [], "colour": "green"}

    assert parse(document) == ModelList()
    assert parse_model(rollout={"steps": []}) == parse_model()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the document: an object is expected, found []"),
        ({}, "schemaVersion: a whole number from 0 to 2147483647 is expected, is missing"),
        (
            {"schemaVersion": 2, "models": []},
            "schemaVersion 2 is not understood by this server, which knows 1",
        ),
        ({"schemaVersion": 1}, "models: a list is expected, is missing"),
        (
            {"schemaVersion": 1, "models": ["m"]},
            'models[0]: an object is expected, found "m"',
        ),
        (
            {"schemaVersion": 1, "models": [], "pollRequest": 7},
            "pollRequest: a string is expected, found 7",
        ),
        (
            {"schemaVersion": 1, "models": [{"name": "m", "basePath": "/m"}] * 2},
            "Illegal to list model m multiple times in config list",
        ),
    ],
)
def test_a_wrong_document_is_refused_with_the_place(document, message):
    assert refusal(document) == message


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": None}, "models[0].name: a string is expected, found null"),
        ({"basePath": "m"}, "Expected model m to have an absolute path or URI; got base_path()=m"),
        (
            {"versionPolicy": {"latest": {"count": 0}}},
            "models[0].versionPolicy.latest.count: a whole number from 1 to 2147483647 is expected"
            ", found 0",
        ),
        (
            {"versionPolicy": {"all": {}, "latest": {}}},
            "models[0].versionPolicy: exactly one of latest, all and specific is expected, found "
            '{"all": {}, "latest": {}}',
        ),
        (
            {"versionPolicy": {"specific": {"versions": [1, "2"]}}},
            "models[0].versionPolicy.specific.versions[1]: a whole number of 64 bits is expected, "
            'found "2"',
        ),
        (
            {"labels": {"stable": 2**63}},
            "models[0].labels.stable: a whole number of 64 bits is expected, found "
            "9223372036854775808",
        ),
        (
            {"transitionPolicy": "Careful"},
            "models[0].transitionPolicy: AvailabilityPreserving or ResourcePreserving is expected, "
            'found "Careful"',
        ),
        (
            {"pollSeconds": -1},
            "models[0].pollSeconds: a number of seconds from 0 to 1e9 is expected, found -1",
        ),
        (
            {"pollSeconds": 10**400},
            "models[0].pollSeconds: a number of seconds from 0 to 1e9 is expected, found "
            f"1{'0' * 76}...",
        ),
        (
            {"pollSeconds": float("nan")},
            "models[0].pollSeconds: a number of seconds from 0 to 1e9 is expected, found NaN",
        ),
        (
            {"basePath": "gs:[x"},
            "Expected model m to have an absolute path or URI; got base_path()=gs:[x",
        ),
        ({"await": 1}, "models[0].await: true or false is expected, found 1"),
        (
            {"batching": {"maxBatchSize": True}},
            "models[0].batching.maxBatchSize: a whole number from 1 to 2147483647 is expected, "
            "found true",
        ),
        (
            {"batching": {"maxBatchSize": 32, "allowedBatchSizes": [16]}},
            "models[0].batching: Last entry in allowed_batch_sizes must match max_batch_size; last "
            "entry was 16; expected 32",
        ),
        (
            {"labels": "x" * 200},
            f'models[0].labels: an object is expected, found "{"x" * 76}...',
        ),
    ],
)
def test_a_wrong_model_is_refused_with_the_place_and_what_is_expected(members, message):
    assert refusal_of_model(**members) == message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_refused(content):
    with pytest.raises(InvalidArgumentError, match=r"^The config document is not JSON: "):
        parse_config_document(content)


@pytest.mark.parametrize("models", [r'[{"name": "\ud800", "basePath": "/m"}]', r'{"\udfff": 1}'])
def test_half_a_character_is_refused_wherever_it_is(models):
    content = f'{{"schemaVersion": 1, "models": {models}}}'.encode()

    with pytest.raises(InvalidArgumentError, match="surrogates not allowed"):
        parse_config_document(content)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.just("x")
json_values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.just("x"), scalars)
members = st.sampled_from(
    ["name", "basePath", "versionPolicy", "labels", "pollSeconds", "batching", "await", "platform"]
)


@given(st.dictionaries(members, json_values, max_size=3))
def test_whatever_a_model_says_is_read_or_refused_and_nothing_else(model):
    with suppress(InvalidArgumentError):
        parse({"schemaVersion": 1, "models": [{"name": "m", "basePath": "/m"} | model]})


def test_the_document_that_the_manual_shows_is_read():
    page = (Path(__file__).parents[3] / "docs" / "server.md").read_text()
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)

    (model,) = parse_config_document(shown.encode()).models

    assert (model.name, model.base_path, model.ready_marker) == (
        "mnist",
        "/models/mnist",
        "_SUCCESS",
    )
