"""How the image's entry point makes flags of the environment."""

import pytest

from modelserver.container import container_arguments

ENVIRONMENT = {"MODEL_NAME": "mnist", "MODEL_BASE_PATH": "/models"}


def test_the_environment_names_the_model_as_in_the_references_image():
    arguments = container_arguments(ENVIRONMENT, ["--enable_batching"])

    assert arguments == [
        "--model_name=mnist",
        "--model_base_path=/models/mnist",
        "--enable_batching",
    ]


def test_flags_come_last_and_so_win():
    arguments = container_arguments(ENVIRONMENT, ["--model_name=other"])

    assert arguments[-1] == "--model_name=other"


@pytest.mark.parametrize("flag", ["--model_config_file=/m.txt", "--config_document=/c.json"])
def test_a_file_that_names_the_models_leaves_the_environment_out(flag):
    assert container_arguments(ENVIRONMENT, ["--port=1", flag]) == ["--port=1", flag]


def test_without_a_base_path_nothing_is_added():
    assert container_arguments({"MODEL_NAME": "mnist"}, ["--port=1"]) == ["--port=1"]


def test_the_model_is_called_model_when_nothing_names_it():
    arguments = container_arguments({"MODEL_BASE_PATH": "gs://bucket"}, [])

    assert arguments == ["--model_name=model", "--model_base_path=gs://bucket/model"]
