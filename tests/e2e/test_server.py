"""The command as its users run it: real processes, real sockets, bad exports and bad luck."""

import shutil
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

QUICK = ("--max_num_load_retries=0", "--file_system_poll_wait_seconds=0.2")


def run(*flags):
    """Run the command to its end."""
    command = [sys.executable, "-m", "modelserver", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def base_path(tmp_path, saved_models):
    """A base path with a good version 1: y = x."""
    path = tmp_path / "models"
    shutil.copytree(saved_models(1), path / "1")
    return path


@pytest.fixture
def server(start_server, base_path):
    """A server of version 1 that polls often and does not retry loads."""
    flags = ("--model_name=m", f"--model_base_path={base_path}", *QUICK)
    return start_server(*flags).wait_until_serving()


def test_a_new_version_is_picked_up_and_the_old_one_unloaded(server, base_path, saved_models):
    assert server.predict(3.0) == (1, 3.0)

    shutil.copytree(saved_models(2), base_path / "2")
    server.wait_for_state(2, "AVAILABLE")
    server.wait_for_state(1, "END")

    assert server.predict(3.0) == (2, 6.0)
    assert server.is_serving("m")


def test_a_version_change_under_load_fails_no_request(start_server, base_path, saved_models):
    server = start_server(
        "--model_name=m", f"--model_base_path={base_path}", "--enable_batching", *QUICK
    ).wait_until_serving()
    answers, failures, is_over = [], [], threading.Event()

    def call():
        while not is_over.is_set():
            try:
                answers.append(server.predict(1.0))
            except grpc.RpcError as error:
                failures.append(error)

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for version in (2, 3):
        shutil.copytree(saved_models(version), base_path / str(version))
        server.wait_for_state(version, "AVAILABLE")
        server.wait_for_state(version - 1, "END")
    is_over.set()
    for caller in callers:
        caller.join()

    assert failures == []
    assert set(answers) == {(1, 1.0), (2, 2.0), (3, 3.0)}


def truncated(directory, source):
    """saved_model.pb and the variables end in the middle, but the directory looks finished."""
    shutil.copytree(source, directory)
    for file in directory.rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            with open(file, "r+b") as content:
                content.truncate(file.stat().st_size // 2)


def empty(directory, source):
    directory.mkdir()


def half_copied(directory, source):
    """The graph is there, the variables are not yet."""
    directory.mkdir()
    shutil.copy(source / "saved_model.pb", directory)


@pytest.mark.parametrize("spoil", [truncated, empty, half_copied])
def test_an_incomplete_version_waits_while_version_1_serves_and_is_served_when_complete(
    server, base_path, saved_models, spoil
):
    spoil(base_path / "2", saved_models(2))

    message = server.wait_for_state(2, "START")
    assert message.startswith("waiting for upload: ")
    assert server.predict(3.0) == (1, 3.0)

    shutil.copytree(saved_models(2), base_path / "2", dirs_exist_ok=True)
    server.wait_for_state(2, "AVAILABLE")
    assert server.predict(3.0) == (2, 6.0)


def without_signatures(model):
    model.meta_graphs[0].signature_def.clear()


def with_a_signature_of_missing_tensors(model):
    graph = model.meta_graphs[0]
    graph.object_graph_def.Clear()  # so that only the signature says what to run
    graph.signature_def["serving_default"].outputs["y"].name = "no_such_tensor:0"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without_signatures, "has no signature that can be served"),
        (with_a_signature_of_missing_tensors, "no_such_tensor"),
    ],
)
def test_a_version_with_wrong_signatures_fails_while_version_1_serves(
    server, base_path, saved_models, spoil, reason
):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    shutil.copytree(saved_models(2), base_path / "copying")
    file = base_path / "copying" / "saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    spoil(model)
    file.write_bytes(model.SerializeToString())
    (base_path / "copying").rename(base_path / "2")

    message = server.wait_for_state(2, "END")

    assert reason in message
    assert server.predict(3.0) == (1, 3.0)


def test_versions_that_vanish_from_the_disk_serve_on(server, base_path):
    shutil.rmtree(base_path)
    threading.Event().wait(1.0)  # several polls of the real server

    assert server.predict(3.0) == (1, 3.0)
    assert server.states() == {1: ("AVAILABLE", "")}


def test_a_new_version_that_vanishes_again_leaves_version_1_serving(
    server, base_path, saved_models
):
    half_copied(base_path / "2", saved_models(2))
    server.wait_for_state(2, "START")

    shutil.rmtree(base_path / "2")
    threading.Event().wait(1.0)

    assert server.predict(3.0) == (1, 3.0)
    assert server.states() == {1: ("AVAILABLE", "")}


def test_a_killed_server_comes_back_on_its_port_with_its_version(start_server, base_path):
    flags = ("--model_name=m", f"--model_base_path={base_path}", *QUICK)
    first = start_server(*flags).wait_until_serving()
    first.kill()

    second = start_server(*flags, port=first.port).wait_until_serving()

    assert second.predict(3.0) == (1, 3.0)


def test_sigterm_answers_what_was_accepted_and_exits_with_zero(start_server, tmp_path, base_path):
    file = tmp_path / "batching.pbtxt"
    file.write_text("batch_timeout_micros { value: 3000000 }")  # accepted calls wait three seconds
    server = start_server(
        "--model_name=m",
        f"--model_base_path={base_path}",
        "--enable_batching",
        f"--batching_parameters_file={file}",
    ).wait_until_serving()
    answers = []
    callers = [
        threading.Thread(target=lambda: answers.append(server.predict(1.0, timeout=30)))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    threading.Event().wait(1.0)  # they have arrived, and wait in the queue

    code = server.terminate()

    for caller in callers:
        caller.join()
    assert answers == [(1, 1.0)] * 8
    assert code == 0


def test_sigterm_under_load_gives_each_call_an_answer_or_a_clear_no(server):
    answers, failures = [], []

    def call():
        try:
            while True:
                answers.append(server.predict(1.0))
        except grpc.RpcError as error:
            failures.append(error.code())

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    while len(answers) < 200:
        threading.Event().wait(0.01)
    code = server.terminate()
    for caller in callers:
        caller.join()

    assert code == 0
    # gRPC cancels calls that it has received and not yet handed over when it shuts down.
    assert set(failures) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert set(answers) == {(1, 1.0)}


def test_sigterm_while_models_are_still_awaited_exits_with_zero(start_server, tmp_path):
    (tmp_path / "models").mkdir()
    server = start_server("--model_name=m", f"--model_base_path={tmp_path}/models")
    while "No versions of servable m found" not in server.log():
        threading.Event().wait(0.05)

    assert server.terminate() == 0


def test_a_model_that_cannot_be_loaded_ends_the_server_with_one(tmp_path, base_path):
    (base_path / "1" / "saved_model.pb").unlink()
    (base_path / "1" / "saved_model.pbtxt").write_text(
        "meta_graphs { meta_info_def { tags: 'other' } }"
    )

    result = run("--port=18500", "--model_name=m", f"--model_base_path={base_path}", *QUICK)

    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(
        "modelserver: 1 servable(s) did not become available: {{{name: m version: 1} due to error: "
    )
    assert "Traceback" not in result.stderr


def test_with_serve_partial_the_good_models_are_served(
    start_server, tmp_path, base_path, saved_models
):
    shutil.copytree(saved_models(1), tmp_path / "bad" / "1")
    (tmp_path / "bad" / "1" / "saved_model.pb").unlink()
    (tmp_path / "bad" / "1" / "saved_model.pbtxt").write_text(
        "meta_graphs { meta_info_def { tags: 'other' } }"
    )
    file = tmp_path / "models.pbtxt"
    file.write_text(
        f"""model_config_list {{
            config {{ name: "m" base_path: "{base_path}" model_platform: "tensorflow" }}
            config {{ name: "bad" base_path: "{tmp_path}/bad" model_platform: "tensorflow" }}
        }}"""
    )

    server = start_server(
        f"--model_config_file={file}", "--serve_partial", *QUICK
    ).wait_until_serving()

    assert server.predict(3.0) == (1, 3.0)
    assert server.states("bad")[1][0] in ("START", "LOADING", "END")
    assert server.is_serving("m")
    assert not server.is_serving("bad")


def test_a_port_in_use_is_told_before_any_model_is_loaded(server, base_path):
    result = run(f"--port={server.port}", f"--model_base_path={base_path}")

    assert result.returncode == 1
    assert (
        result.stderr
        == f"modelserver: Cannot listen on 0.0.0.0:{server.port}: Address already in use\n"
    )


def test_a_port_is_shared_by_those_that_are_told_to(
    start_server, base_path, saved_models, tmp_path
):
    shutil.copytree(saved_models(2), tmp_path / "others" / "2")
    shared = ("--model_name=m", "--grpc_channel_arguments=grpc.so_reuseport=1", *QUICK)
    first = start_server(f"--model_base_path={base_path}", *shared).wait_until_serving()

    second = start_server(f"--model_base_path={tmp_path}/others", *shared, port=first.port)

    answers, deadline = set(), time.monotonic() + 60
    while len(answers) < 2 and time.monotonic() < deadline:
        first.connect_anew()  # the kernel chooses by connection
        answers.add(first.predict(3.0))
    assert answers == {(1, 3.0), (2, 6.0)}, second.log()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--no_such_flag"], 2, "unrecognized arguments: --no_such_flag"),
        (["--model_base_path=/no/such/path"], 1, "Could not find base path /no/such/path"),
        (
            ["--model_config_file=/no/such/file"],
            1,
            "Cannot read /no/such/file: No such file or directory",
        ),
    ],
)
def test_bad_usage_is_one_line_and_no_traceback(flags, code, message):
    result = run(*flags)

    assert result.returncode == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_unknown_platform_is_told_with_those_there_are(tmp_path, base_path):
    file = tmp_path / "models.pbtxt"
    file.write_text(
        f"""model_config_list {{ config {{
            name: "m" base_path: "{base_path}" model_platform: "onyx"
        }} }}"""
    )

    result = run("--port=18501", f"--model_config_file={file}")

    assert result.returncode == 1
    assert "No platform is called 'onyx'. Installed are: " in result.stderr
    assert "tensorflow" in result.stderr


def test_a_label_set_at_start_is_served_when_its_version_is(
    start_server, tmp_path, base_path, saved_models
):
    shutil.copytree(saved_models(2), base_path / "2")
    file = tmp_path / "models.pbtxt"
    file.write_text(
        f"""model_config_list {{ config {{
            name: "m" base_path: "{base_path}" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 1 }}
        }} }}"""
    )
    server = start_server(f"--model_config_file={file}", *QUICK).wait_until_serving()
    server.wait_for_state(1, "AVAILABLE")
    server.wait_for_state(2, "AVAILABLE")

    assert server.predict(3.0) == (2, 6.0)
    assert server.predict(3.0, version=1) == (1, 3.0)


def test_an_interrupt_stops_the_server_too(server):
    server.process.send_signal(signal.SIGINT)

    assert server.process.wait(60) == 0


@pytest.fixture
def install_platform(tmp_path, monkeypatch):
    """Make a platform from source text, as if a distribution with it were installed."""

    def install(name, source):
        (tmp_path / f"{name}_platform.py").write_text(source)
        metadata = tmp_path / f"{name}_platform-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {name}-platform\nVersion: 1.0\n")
        entry_points = f"[modelserver.platforms]\n{name} = {name}_platform:platform\n"
        (metadata / "entry_points.txt").write_text(entry_points)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        (tmp_path / "models" / "1").mkdir(parents=True)
        file = tmp_path / "models.pbtxt"
        file.write_text(
            f"""model_config_list {{ config {{
                name: "m" base_path: "{tmp_path}/models" model_platform: "{name}"
            }} }}"""
        )
        return f"--model_config_file={file}"

    return install


HANGING_PLATFORM = """
import threading

class Hanging:
    def missing_files(self, path):
        return []

    def must_settle(self, name):
        return False

    def make_loader(self, id, path):
        return self

    def load(self):
        print("loading for ever", flush=True)
        threading.Event().wait()

def platform(options):
    return Hanging()
"""


def test_sigterm_ends_the_process_though_a_load_hangs_for_ever(start_server, install_platform):
    server = start_server(install_platform("hanging", HANGING_PLATFORM))
    while "loading for ever" not in server.log():
        threading.Event().wait(0.05)

    assert server.terminate() == 0
    assert "Some loads or runs did not end" in server.log()


def test_a_platform_that_cannot_be_imported_is_one_line(install_platform):
    result = run("--port=18502", install_platform("broken", "import no_such_module"))

    assert result.returncode == 1
    expected = "modelserver: Platform 'broken' (broken_platform:platform) cannot be used: "
    assert result.stderr.startswith(expected)
    assert result.stderr.count("\n") == 1


def test_a_platform_that_lacks_a_method_is_one_line(install_platform):
    result = run("--port=18503", install_platform("half", "platform = dict"))

    assert result.returncode == 1
    assert "Platform 'half' (half_platform:platform) has no missing_files" in result.stderr
    assert result.stderr.count("\n") == 1


def test_with_serve_partial_a_model_without_any_version_does_not_hold_the_others_up(
    start_server, tmp_path, base_path
):
    file = tmp_path / "models.pbtxt"
    file.write_text(
        f"""model_config_list {{
            config {{ name: "m" base_path: "{base_path}" model_platform: "tensorflow" }}
            config {{ name: "typo" base_path: "{tmp_path}/typo" model_platform: "tensorflow" }}
        }}"""
    )

    server = start_server(f"--model_config_file={file}", "--serve_partial", *QUICK)

    assert server.wait_until_serving().predict(3.0) == (1, 3.0)
    assert not server.is_serving("typo")
