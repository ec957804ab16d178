"""What the operator believes of what a pod says: a pod runs what its author put into it."""

import json

import pytest

from modelserver_operator.errors import ReportError
from modelserver_operator.json_types import JsonObject
from modelserver_operator.reports import ModelReport, PodReport, VersionReport, parse_report


def parse(**document: object) -> PodReport:
    return parse_report(json.dumps({"podUid": "uid-1", **document}).encode())


def parse_model(**model: object) -> ModelReport:
    return parse(models=[{"name": "mnist", **model}]).models[0]


def parse_version(**version: object) -> VersionReport:
    return parse_model(versions=[{"version": 1, **version}]).versions[0]


def numbered(count: int) -> list[JsonObject]:
    return [{"name": f"m{number}", "version": number} for number in range(count)]


def test_nulls_and_what_is_missing_are_the_same() -> None:
    nulls = {"configError": None, "models": None, "ready": None, "acceptedConfigSchemas": None}

    assert parse(**nulls) == parse() == PodReport("uid-1")


def test_what_only_a_newer_server_says_is_ignored() -> None:
    news = {"storage": {"cacheBytes": [1]}, "progress": {"bytesDownloaded": 5}, "x": None}
    version = {"version": 1, "state": "Start", "reason": "Downloading", "message": "downloading"}
    known = {"name": "mnist", "source": {"accessible": True}, "versions": [version]}
    more = {
        "name": "mnist",
        "source": {"accessible": True, **news},
        "versions": [version | news],
        **news,
    }

    assert parse(models=[more], **news) == parse(models=[known])
    assert parse(models=[more]).models[0].versions[0].reason == "Downloading"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"podUid": ["uid-1"]}, id="uid"),
        pytest.param({"acceptedConfigSchemas": [[1]]}, id="schema"),
        pytest.param({"ready": "false"}, id="ready"),
        pytest.param({"configError": "no"}, id="config error"),
        pytest.param({"models": {"name": "mnist"}}, id="models"),
        pytest.param({"models": ["mnist"]}, id="model"),
        pytest.param({"models": [{}]}, id="model without a name"),
        pytest.param({"models": [{"name": "m" * 129}]}, id="model with too long a name"),
        pytest.param({"models": numbered(257)}, id="too many models"),
    ],
)
def test_a_report_of_another_form_is_refused(document: JsonObject) -> None:
    with pytest.raises(ReportError):
        parse(**document)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param({"source": {"reason": ["NotFound"]}}, id="source"),
        pytest.param({"labels": [{"name": "stable", "version": True}]}, id="label"),
        pytest.param({"versions": numbered(2001)}, id="too many versions"),
        pytest.param({"versions": [{"version": "1"}]}, id="version as text"),
        pytest.param({"versions": [{"version": -1}]}, id="negative version"),
        pytest.param({"versions": [{"version": 2**63}]}, id="too large a version"),
        pytest.param({"versions": [{"version": float("inf")}]}, id="endless version"),
        pytest.param({"versions": [{"version": 1, "state": {}}]}, id="state"),
        pytest.param({"versions": [{"version": 1, "labels": [4]}]}, id="label of a version"),
        pytest.param({"versions": [{"version": 1, "firstSeenTime": "noon"}]}, id="no time"),
        pytest.param(
            {"versions": [{"version": 1, "firstSeenTime": "2026-01-01T00:00:00"}]},
            id="time without a zone",
        ),
        pytest.param(
            {"versions": [{"version": 1, "firstSeenTime": "0001-01-01T00:00:00+14:00"}]},
            id="time before all times",
        ),
    ],
)
def test_a_model_of_another_form_is_refused(model: JsonObject) -> None:
    with pytest.raises(ReportError):
        parse_model(**model)


def test_versions_are_limited_over_all_models() -> None:
    models = [{"name": name, "versions": numbered(1001)} for name in ("a", "b")]

    with pytest.raises(ReportError, match="2002 versions"):
        parse(models=models)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'"' * 3, b"\xff", b"1"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ReportError):
        parse_report(body)


def test_text_that_could_not_be_stored_is_made_storable() -> None:
    assert parse_version(message="half \ud800 a pair").message == "half ? a pair"
    assert len(parse_version(message="x" * 100_000).message) == 4096
