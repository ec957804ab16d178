"""What mnist_export writes and what it refuses, short of training (see test_mnist_training)."""

from pathlib import Path

import pytest

from mnist import export


@pytest.mark.parametrize("existing", ["1", "00000001", "001"])
def test_an_existing_version_is_refused_before_anything_is_trained(
    tmp_path: Path, existing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / existing).mkdir()

    status = export.main(["--export_version=1", str(tmp_path)])

    assert status == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error == (
        f"mnist_export: error: version 1 exists already: {tmp_path / existing}; "
        "choose another --export_version\n"
    )


def test_an_export_dir_that_is_a_file_gives_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    status = export.main([str(tmp_path / "file")])

    assert status == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_data_is_reported_and_leaves_no_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = export.main([f"--data_dir={tmp_path / 'absent'}", str(tmp_path / "model")])

    assert status == 1
    assert "absent is not a directory" in capsys.readouterr().err
    assert list((tmp_path / "model").iterdir()) == []
