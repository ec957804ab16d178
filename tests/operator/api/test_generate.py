from pathlib import Path

import pytest
import yaml

from modelserver_operator.api.crd import crd
from modelserver_operator.api.generate import (
    CHART_FILE,
    CRD_FILE,
    LARGEST_CRD_BYTES,
    REFERENCE_FILE,
    RELEASED,
    faults,
    generated,
    main,
)

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    assert main(["--root", str(tmp_path)]) == 0
    return tmp_path


def test_the_committed_files_are_what_the_types_say() -> None:
    assert faults(REPOSITORY) == []


def test_what_was_just_written_is_found_to_be_right(root: Path) -> None:
    assert main(["--check", "--root", str(root)]) == 0


@pytest.mark.parametrize("path", [CRD_FILE, CHART_FILE, REFERENCE_FILE])
def test_a_file_that_differs_is_named(
    root: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / path).write_text("something else")

    assert main(["--check", "--root", str(root)]) == 1

    assert capsys.readouterr().err == (
        f"{path} is not what the types say: run python -m modelserver_operator.api.generate\n"
    )
    assert (root / path).read_text() == "something else"


def test_a_file_that_is_missing_is_named(root: Path) -> None:
    (root / REFERENCE_FILE).unlink()

    (fault,) = faults(root)

    assert fault.startswith("docs/reference.md")


def test_a_change_that_breaks_what_a_release_stored_is_named(root: Path) -> None:
    old = crd()
    fields = old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields["properties"]["telepathy"] = {"type": "string"}
    (root / RELEASED).mkdir()
    (root / RELEASED / "0.0.1.yaml").write_text(yaml.safe_dump(old))

    assert faults(root) == [
        "crds/released/0.0.1.yaml stored objects that would break: spec.telepathy: removed"
    ]


def test_the_crd_file_holds_the_crd() -> None:
    assert yaml.safe_load(generated()[CRD_FILE]) == crd()


def test_the_crd_is_small_enough_to_be_applied_by_clients() -> None:
    assert len(generated()[CRD_FILE].encode()) < LARGEST_CRD_BYTES


def test_the_charts_copy_is_the_crd_within_two_conditions() -> None:
    lines = generated()[CHART_FILE].splitlines()

    assert lines[1] == "{{- if .Values.crds.enabled }}"
    assert lines[-1] == "{{- end }}"
    assert [line.strip() for line in lines if "{{" in line] == [
        "{{- if .Values.crds.enabled }}",
        "{{- if .Values.crds.keep }}",
        "{{- end }}",
        "{{- end }}",
    ]
    rendered = yaml.safe_load("\n".join(line for line in lines if "{{" not in line))
    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert rendered == crd()
