import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import text_format

import modelserver.rpc.messages
from modelserver.rpc.descriptors import descriptor_set
from modelserver.rpc.messages import (
    BatchingParameters,
    GetModelMetadataResponse,
    ModelServerConfig,
    PredictRequest,
    SignatureDefMap,
)

RPC_FOLDER = Path(modelserver.rpc.messages.__file__).parent
GENERATOR = RPC_FOLDER.parents[2] / "proto" / "generate_descriptors.py"


@pytest.fixture
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_descriptors", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_messages_survive_the_wire() -> None:
    request = PredictRequest(output_filter=["y"])
    request.model_spec.name = "half_plus_two"
    request.model_spec.version.value = 3
    request.inputs["x"].float_val.append(1.5)

    assert PredictRequest.FromString(request.SerializeToString()) == request


def test_a_model_config_file_parses() -> None:
    text = """
        model_config_list {
          config {
            name: "mnist" base_path: "/models/mnist" model_platform: "tensorflow"
            model_version_policy { specific { versions: 1 versions: 2 } }
            version_labels { key: "stable" value: 1 }
          }
        }
    """

    (config,) = text_format.Parse(text, ModelServerConfig()).model_config_list.config

    assert config.name == "mnist"
    assert list(config.model_version_policy.specific.versions) == [1, 2]
    assert dict(config.version_labels) == {"stable": 1}


def test_a_batching_parameters_file_parses() -> None:
    text = """
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 0 }
        max_enqueued_batches { value: 1000000 }
        num_batch_threads { value: 8 }
        thread_pool_name { value: "threads" }
        allowed_batch_sizes: 64
        allowed_batch_sizes: 128
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 64 }
    """

    parameters = text_format.Parse(text, BatchingParameters())

    assert parameters.max_batch_size.value == 128
    assert parameters.HasField("batch_timeout_micros")
    assert list(parameters.allowed_batch_sizes) == [64, 128]


def test_batching_parameters_have_tensorflow_serving_s_field_numbers() -> None:
    fields = BatchingParameters.DESCRIPTOR.fields

    assert {field.name: field.number for field in fields} == {
        "max_batch_size": 1,
        "batch_timeout_micros": 2,
        "max_enqueued_batches": 3,
        "num_batch_threads": 4,
        "thread_pool_name": 5,
        "allowed_batch_sizes": 6,
        "pad_variable_length_inputs": 7,
        "enable_large_batch_splitting": 8,
        "max_execution_batch_size": 9,
    }


def test_signatures_pack_under_the_type_url_that_clients_look_for() -> None:
    response = GetModelMetadataResponse()

    response.metadata["signature_def"].Pack(SignatureDefMap())

    url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert response.metadata["signature_def"].type_url == url


@pytest.mark.tensorflow
def test_the_committed_descriptors_are_what_the_generator_writes(generator: ModuleType) -> None:
    assert generator.descriptor_set() == descriptor_set()


def test_the_committed_stub_is_what_the_generator_writes(generator: ModuleType) -> None:
    expected = generator.stub(generator.message_classes())

    assert (RPC_FOLDER / "messages.pyi").read_text() == expected
