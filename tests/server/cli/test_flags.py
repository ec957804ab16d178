"""The command line: what the flags mean, and one clear line where they are wrong."""

import pytest

from modelserver import flags
from modelserver.config import ModelConfig, ModelList, PodIdentity
from modelserver.errors import InvalidArgumentError, NotFoundError
from modelserver.rpc.transport.choice import TransportKind
from modelserver.rpc.transport.options import TlsCredentials
from modelserver.sources.versions import All, Latest, Specific


@pytest.fixture
def base_path(tmp_path):
    path = tmp_path / "mnist"
    path.mkdir()
    return str(path)


def parse(*argv):
    return flags.parse(argv)


def refusal(capsys, *argv):
    """The one line that a wrong command line is answered with."""
    with pytest.raises(SystemExit) as exit_:
        flags.parse(argv)
    output = capsys.readouterr()
    assert exit_.value.code == 2
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def test_the_defaults_are_those_of_the_reference(base_path):
    config = parse(f"--model_base_path={base_path}")

    assert config.models == (ModelConfig("default", base_path, "tensorflow", Latest(1), {}),)
    assert config.address == "0.0.0.0:8500"
    assert config.poll_wait_seconds is None
    assert config.batching is None
    assert config.manager.retry.max_num_load_retries == 5
    assert config.manager.retry.load_retry_interval_seconds == 60.0
    assert config.platform_options["saved_model_tags"] == ("serve",)
    assert config.platform_options["enable_model_warmup"] is True
    assert not config.serve_partial
    assert not config.serialize_as_tensor_content
    assert config.transport is TransportKind.AUTO
    assert config.tls_file is None


def test_batching_without_a_file_has_the_reference_s_defaults(base_path):
    batching = parse(f"--model_base_path={base_path}", "--enable_batching").batching

    assert batching.max_batch_size == 1000
    assert batching.batch_timeout_micros == 0
    assert batching.max_enqueued_batches == 10
    assert batching.thread_pool_name == "model_server_batch_threads"


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--enable_batching", True),
        ("--enable_batching=true", True),
        ("--enable_batching=1", True),
        ("--enable_batching=false", False),
        ("--enable_batching=0", False),
    ],
)
def test_boolean_flags_are_written_as_for_tensorflow_s_programs(base_path, flag, expected):
    config = parse(f"--model_base_path={base_path}", flag)

    assert (config.batching is not None) == expected


def test_a_batching_parameters_file_sets_every_parameter(base_path, tmp_path):
    file = tmp_path / "batching.pbtxt"
    file.write_text(
        """
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 2000 }
        max_enqueued_batches { value: 50 }
        num_batch_threads { value: 3 }
        thread_pool_name { value: "pool" }
        allowed_batch_sizes: 32
        allowed_batch_sizes: 64
        allowed_batch_sizes: 128
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 128 }
        """
    )

    config = parse(
        f"--model_base_path={base_path}", "--enable_batching", f"--batching_parameters_file={file}"
    )

    batching = config.batching
    assert (batching.max_batch_size, batching.batch_timeout_micros) == (128, 2000)
    assert (batching.max_enqueued_batches, batching.num_batch_threads) == (50, 3)
    assert (batching.thread_pool_name, batching.allowed_batch_sizes) == ("pool", (32, 64, 128))
    assert (batching.pad_variable_length_inputs, batching.enable_large_batch_splitting) == (
        True,
        True,
    )
    assert batching.max_execution_batch_size == 128
    assert config.platform_options["warmup_batch_sizes"] == (32, 64, 128)


def test_batching_parameters_that_contradict_each_other_are_refused_in_the_reference_s_words(
    base_path, tmp_path
):
    file = tmp_path / "batching.pbtxt"
    file.write_text("max_batch_size { value: 100 } allowed_batch_sizes: 64")

    with pytest.raises(InvalidArgumentError, match="Last entry in allowed_batch_sizes must match"):
        parse(
            f"--model_base_path={base_path}",
            "--enable_batching",
            f"--batching_parameters_file={file}",
        )


def test_a_model_config_file_lists_models_with_policies_and_labels(tmp_path):
    file = tmp_path / "models.pbtxt"
    file.write_text(
        """
        model_config_list {
          config { name: "a" base_path: "/models/a" model_platform: "tensorflow" }
          config { name: "b" base_path: "/models/b" model_version_policy { all {} } }
          config {
            name: "c" base_path: "gs://bucket/c" model_platform: "lookup"
            model_version_policy { specific { versions: 1 versions: 2 } }
            version_labels { key: "stable" value: 1 }
            version_labels { key: "canary" value: 2 }
          }
          config {
            name: "d" base_path: "/models/d"
            model_version_policy { latest { num_versions: 2 } }
          }
        }
        """
    )

    models = parse(f"--model_config_file={file}", "--model_name=ignored").models

    assert models == (
        ModelConfig("a", "/models/a"),
        ModelConfig("b", "/models/b", version_policy=All()),
        ModelConfig(
            "c", "gs://bucket/c", "lookup", Specific(frozenset({1, 2})), {"stable": 1, "canary": 2}
        ),
        ModelConfig("d", "/models/d", version_policy=Latest(2)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            'model_config_list { config { name: "a" base_path: "/x" } '
            'config { name: "a" base_path: "/y" } }',
            "Illegal to list model a multiple times in config list",
            id="a-model-twice",
        ),
        pytest.param(
            'model_config_list { config { name: "a" base_path: "models/a" } }',
            "Expected model a to have an absolute path or URI; got base_path()=models/a",
            id="a-relative-path",
        ),
        pytest.param(
            "model_config_list {",
            "is not a ModelServerConfig in protobuf text format",
            id="half-a-file",
        ),
        pytest.param("modle_config_list {}", "1:1", id="a-misspelled-field-with-its-place"),
        pytest.param(
            'model_config_list { config { name: "a" base_path: "/x" logging_config {} } }',
            "Model a has a logging_config: request logging is not in this release",
            id="request-logging",
        ),
        pytest.param(
            'model_config_list { config { base_path: "/x" } }',
            "The model at /x has no name",
            id="no-name",
        ),
        pytest.param(
            "custom_model_config {}", "custom_model_config is not supported", id="custom-config"
        ),
    ],
)
def test_a_wrong_model_config_file_says_what_and_where(tmp_path, text, message):
    file = tmp_path / "models.pbtxt"
    file.write_text(text)

    with pytest.raises(InvalidArgumentError) as error:
        parse(f"--model_config_file={file}")

    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        NotFoundError, match=r"Cannot read .*models\.pbtxt: No such file or directory"
    ):
        parse(f"--model_config_file={tmp_path}/models.pbtxt")


def test_a_missing_base_path_is_named_with_what_to_do(tmp_path):
    with pytest.raises(
        NotFoundError, match=r"Could not find base path .*/gone for servable mnist: make"
    ):
        parse("--model_name=mnist", f"--model_base_path={tmp_path}/gone")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give --model_base_path or --model_config_file"),
        (["--model_base_path=/", "--port=0"], "give a --port above 0 or a --grpc_socket_path"),
        (["--model_base_path=/", "--port=abc"], "argument --port: 'abc' is not a whole number"),
        (["--model_base_path=/", "--port=70000"], "70000 is no port"),
        (["--model_base_path=/", "--enable_batching=maybe"], "'maybe' is neither true nor false"),
        (["--model_base_path=/", "--no_such_flag=1"], "unrecognized arguments: --no_such_flag=1"),
        (["--model_base_path=/", "--model_nam=x"], "unrecognized arguments: --model_nam=x"),
        (["--model_base_path=/", "--batching_parameters_file=/x"], "without --enable_batching"),
        (["--model_base_path=/", "--transport=rust"], "invalid choice: 'rust' (choose from"),
        (["--model_base_path=/", "--drain_seconds=-1"], "--drain_seconds must not be negative"),
        (["--model_base_path=/", "--file_system_poll_wait_seconds=inf"], "'inf' is not a number"),
        (["--model_base_path=/", "--drain_seconds=nan"], "'nan' is not a number"),
        (
            ["--model_base_path=/", "--per_process_gpu_memory_fraction=2"],
            "not a number from 0 to 1",
        ),
        (
            ["--model_base_path=/", "--rest_api_port=8501"],
            "--rest_api_port=8501: the REST API is not in this",
        ),
        (
            [
                "--model_base_path=/",
                "--tensorflow_session_parallelism=1",
                "--tensorflow_intra_op_parallelism=1",
            ],
            "give either --tensorflow_session_parallelism or",
        ),
        (
            ["--model_base_path=/", "--grpc_channel_arguments=x"],
            "'x' is not of the form name=value",
        ),
    ],
)
def test_a_wrong_command_line_is_answered_with_one_clear_line(capsys, argv, message):
    assert message in refusal(capsys, *argv)


@pytest.mark.parametrize(
    "flag",
    ["--rest_api_port=0", "--prefer_tflite_model=false", "--model_config_file_poll_wait_seconds=0"],
)
def test_a_flag_that_asks_for_nothing_is_accepted_though_its_feature_is_missing(base_path, flag):
    assert parse(f"--model_base_path={base_path}", flag).models[0].base_path == base_path


def test_flags_that_have_nothing_to_tune_here_are_accepted(base_path):
    config = parse(
        f"--model_base_path={base_path}", "--flush_filesystem_caches=false", "--grpc_max_threads=8"
    )

    assert config.models[0].base_path == base_path


def test_a_socket_can_replace_the_port_or_join_it(base_path):
    only = parse(f"--model_base_path={base_path}", "--port=0", "--grpc_socket_path=/tmp/s")
    both = parse(f"--model_base_path={base_path}", "--port=9000", "--grpc_socket_path=/tmp/s")

    assert only.address == "unix:/tmp/s"
    assert (both.address, both.grpc_socket_path) == ("0.0.0.0:9000", "/tmp/s")


def test_channel_arguments_are_numbers_or_text(base_path):
    config = parse(
        f"--model_base_path={base_path}",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,a=b",
    )

    assert config.grpc_channel_arguments == {"grpc.max_connection_age_ms": 2000, "a": "b"}


@pytest.mark.parametrize("kind", TransportKind)
def test_a_transport_can_be_asked_for(base_path, kind):
    config = parse(f"--model_base_path={base_path}", f"--transport={kind.value}")

    assert config.transport is kind


def test_certificates_are_read_from_the_file_that_is_named_and_looked_at(base_path, tmp_path):
    file = tmp_path / "ssl.pbtxt"
    file.write_text("server_key: 'KEY' server_cert: 'CERT'")

    config = parse(f"--model_base_path={base_path}", f"--ssl_config_file={file}")

    assert config.tls_file.path == file
    assert config.tls_file.read() == TlsCredentials(b"CERT", b"KEY")
    assert config.tls_file.poll_seconds > 0


def test_an_empty_name_of_a_file_with_certificates_asks_for_no_tls(base_path):
    assert parse(f"--model_base_path={base_path}", "--ssl_config_file=").tls_file is None


def test_a_file_with_certificates_that_is_missing_is_named(base_path, tmp_path):
    with pytest.raises(NotFoundError, match=f"{tmp_path}/gone"):
        parse(f"--model_base_path={base_path}", f"--ssl_config_file={tmp_path}/gone")


def test_help_teaches_with_examples(capsys):
    with pytest.raises(SystemExit) as exit_:
        flags.parse(["--help"])

    text = capsys.readouterr().out
    assert exit_.value.code == 0
    assert "modelserver --model_name=mnist --model_base_path=/models/mnist" in text
    assert "exit codes" in text


def test_a_config_document_takes_the_place_of_the_models(tmp_path):
    config = flags.parse(
        [f"--config_document={tmp_path}/config.json", "--admin_port=8502"],
        {"POD_NAME": "mnist-0", "POD_UID": "uid-0", "HOME": "/root"},
    )

    assert config.models == ()
    assert config.model_list_file.path == tmp_path / "config.json"
    assert config.model_list_file.parse(b'{"schemaVersion": 1, "models": []}') == ModelList()
    assert config.admin_port == 8502
    assert config.pod == PodIdentity("mnist-0", "uid-0")


@pytest.mark.parametrize("other", ["--model_base_path=/m", "--model_config_file=/m.pbtxt"])
def test_a_config_document_stands_alone(capsys, other):
    assert "--config_document says what is served" in refusal(
        capsys, "--config_document=/config.json", other
    )


def test_two_ports_are_two_numbers(capsys, base_path):
    message = refusal(capsys, f"--model_base_path={base_path}", "--port=8500", "--admin_port=8500")

    assert "--admin_port and --port must not be the same" in message


def test_outside_kubernetes_there_is_neither_an_admin_port_nor_an_age_of_connections(base_path):
    config = parse(f"--model_base_path={base_path}")

    assert config.admin_port == 0
    assert config.max_connection_age_seconds == 0.0
    assert config.model_list_file is None
    assert config.pod == PodIdentity()


def test_a_model_config_file_may_be_read_again_and_again(tmp_path):
    file = tmp_path / "models.pbtxt"
    file.write_text('model_config_list { config { name: "m" base_path: "/m" } }')

    config = parse(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=5")

    assert [model.name for model in config.models] == ["m"]
    assert config.model_list_file.poll_seconds == 5.0
    assert config.model_list_file.parse(file.read_bytes()).models == config.models
    with pytest.raises(InvalidArgumentError, match="is not a ModelServerConfig"):
        config.model_list_file.parse(b"models!")


def test_a_file_that_is_read_once_is_not_followed(tmp_path):
    file = tmp_path / "models.pbtxt"
    file.write_text('model_config_list { config { name: "m" base_path: "/m" } }')

    config = parse(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=0")

    assert config.model_list_file is None


def test_reading_again_needs_a_file(capsys, base_path):
    assert "without --model_config_file" in refusal(
        capsys, f"--model_base_path={base_path}", "--model_config_file_poll_wait_seconds=5"
    )


@pytest.mark.parametrize("flag", ["drain_seconds", "max_connection_age_seconds"])
def test_durations_are_not_negative(capsys, base_path, flag):
    message = refusal(capsys, f"--model_base_path={base_path}", f"--{flag}=-1")

    assert f"--{flag} must not be negative" in message
