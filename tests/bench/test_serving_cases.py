"""The comparison of model servers: what is measured, how it is asked for, what is made of it."""

import importlib
import itertools
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mnist.layout import checked
from mnist.mnist_pb2 import MnistResponse

HERE = Path(__file__).parent

Module = Callable[[str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Imports a module of the benchmark."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module


@pytest.fixture
def all_cases(module: Module) -> list[Any]:
    """Everything that is measured in a round."""
    serving_cases, loads = module("serving_cases"), module("serving_load").LOADS
    peers, models = module("peers.registry").PEERS, module("model_store").MODELS
    scales = serving_cases.SCALES
    return list(serving_cases.cases(list(peers.values()), models, tuple(loads.values()), scales))


# Cases


def test_the_tutorials_server_is_measured_beside_triton_with_the_same_model(
    all_cases: list[Any],
) -> None:
    peers = [case.peer.name for case in all_cases if case.model.name == "softmax-tf"]

    assert {"ours-classify", "ours-native", "triton-tf"} <= set(peers)


def test_only_servers_with_an_admin_port_are_disturbed(all_cases: list[Any]) -> None:
    disturbed = {c.peer for c in all_cases if any(load.is_disturbed for load in c.loads)}

    assert {peer.name for peer in disturbed} >= {"ours-native", "ours-tls"}
    assert all(peer.has_admin_port for peer in disturbed)


def test_a_disturbed_load_follows_the_same_load_undisturbed(all_cases: list[Any]) -> None:
    names = [load.name for case in all_cases for load in case.loads]
    before = {names[place - 1] for place, name in enumerate(names) if name == "disturbed"}

    assert before == {"4x32"}


def test_the_limit_takes_its_turn_right_before_ours_at_each_point(all_cases: list[Any]) -> None:
    points = [
        (before, case)
        for before, case in itertools.pairwise(all_cases)
        if case.peer.name == "ours-native" and case.scale in ("rows", "payload")
    ]

    assert len(points) == 9
    for before, case in points:
        assert before.peer.name == "limit"
        assert (before.model, before.rows) == (case.model, case.rows)


def test_what_gets_no_load_is_not_started(module: Module) -> None:
    serving_cases, load = module("serving_cases"), module("serving_load").DISTURBED
    peers = list(module("peers.registry").PEERS.values())

    chosen = list(serving_cases.cases(peers, ["softmax"], (load,), []))

    assert 0 < len(chosen) < len(peers)
    assert all(case.loads == (load,) for case in chosen)


# How long it takes


def test_the_time_left_is_of_this_round_and_those_to_come(module: Module) -> None:
    progress = module("progress").Progress([10.0, 20.0], rounds=3)
    left = [progress.left]
    for seconds in (10.0, 20.0, 10.0, 20.0, 10.0, 20.0):
        progress.took(seconds)
        left.append(progress.left)

    assert left == [90, 80, 60, 50, 30, 20, 0]


def test_what_a_step_took_is_expected_of_it_in_the_next_round(module: Module) -> None:
    progress = module("progress").Progress([10.0, 20.0], rounds=2)

    progress.took(15.0)

    assert progress.left == 20 + 15 + 20


# Classify


def test_an_image_is_asked_for_as_the_tutorials_server_takes_it_unparsed(module: Module) -> None:
    model = module("model_store").MODELS["softmax-tf"]
    image = np.random.default_rng(1).random((1, 784), np.float32)

    body = module("wire").ClassifyWire().request("m00", model, image)

    assert checked(body) is body
    assert body.endswith(image.tobytes())


def test_a_classify_request_has_one_image(module: Module) -> None:
    model = module("model_store").MODELS["softmax-tf"]

    with pytest.raises(ValueError, match="too many values"):
        module("wire").ClassifyWire().request("m00", model, np.zeros((2, 784), np.float32))


def test_the_scores_of_an_image_are_a_row(module: Module) -> None:
    model = module("model_store").MODELS["softmax-tf"]
    body = MnistResponse(value=[0.25, 0.75]).SerializeToString()

    scores = module("wire").ClassifyWire().answer(model, body)

    assert scores.tolist() == [[0.25, 0.75]]


# Disturbance


@contextmanager
def pages(**status_of: int) -> Iterator[tuple[int, list[str]]]:
    """An HTTP server with these pages; its port, and what has been read."""
    read: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            read.append(self.path)
            self.send_response(status_of.get(self.path.removeprefix("/"), 404))
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, read
        server.shutdown()


def test_metrics_and_status_are_read_beside_a_disturbed_load(module: Module) -> None:
    with pages(metrics=200, status=200) as (port, read), module("disturbance").readers(port):
        pass

    assert read == ["/metrics", "/status"]


def test_a_load_that_could_not_be_disturbed_is_not_measured(module: Module) -> None:
    with (
        pages(metrics=200, status=503) as (port, _),
        pytest.raises(ConnectionError, match="/status of the admin port: HTTP 503"),
        module("disturbance").readers(port),
    ):
        pass


# Each request parsed


def test_the_plain_platform_leaves_a_server_without_templates() -> None:
    script = """
import modelserver_plain
from modelserver.core import AspiredVersionsManager
from modelserver.rpc.prediction import PredictionService

with AspiredVersionsManager() as manager:
    templates = PredictionService(manager)._templates
assert modelserver_plain.platform({}).missing_files
assert not templates.wants(b"a")
print(templates.sort([b"a", b"b"]), templates.find(None))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE / "peers" / "servers",
    )

    assert done.stdout.split("\n")[0] == "({}, [0, 1]) None"


# TLS


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_clients_that_trust_the_authority_trust_the_server(
    name: str, module: Module, tmp_path: Path
) -> None:
    identity = module("identity").make_identity(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identity.certificate, identity.key)
    client = ssl.create_default_context(cafile=str(identity.authority))
    ends = socket.socketpair()

    def accept() -> None:
        with server.wrap_socket(ends[0], server_side=True) as own:
            own.sendall(b"served")

    thread = threading.Thread(target=accept)
    thread.start()
    with client.wrap_socket(ends[1], server_hostname=name) as own:
        received = own.recv(6)
    thread.join()

    assert received == b"served"


# The report


def record(peer: str, load: str, rps: float, **given: object) -> dict[str, Any]:
    outcome = {"rps": rps, "p50": 1000.0, "p99": 2000.0, "failures": 0, "cpu": 5.0}
    base = {"round": 0, "model": "softmax", "scale": "", "rows": 1, "models": 1, "versions": 1}
    sizes = {"request_bytes": 3170, "outcome": outcome, "reason": ""}
    return {"peer": peer, "load": load, **base, **sizes, **given}


def reported(module: Module, folder: Path, *records: dict[str, Any]) -> str:
    machine = dict.fromkeys(("date", "cores", "processor", "memory", "python"), "?")
    content = {"machine": machine, "versions": {}, "unavailable": {}, "seconds": 1}
    file = folder / "bench.json"
    file.write_text(json.dumps({**content, "records": records}))
    report = module("report_serving")
    return "\n\n".join(report.sections(report.Results.read(file)))


def test_ours_is_shown_as_a_share_of_the_limit_over_sizes(module: Module, tmp_path: Path) -> None:
    size = {"scale": "payload", "request_bytes": 4_000_000, "model": "first-10-of-1000000"}
    text = reported(
        module,
        tmp_path,
        *(record("limit", "4x4", rps, round=at, **size) for at, rps in enumerate((400.0, 200.0))),
        *(record("ours-native", "4x4", 100.0, round=at, **size) for at in range(2)),
    )

    rows = text.partition("### Size of a request, 4 × 4")[2].splitlines()
    assert "| | 4.0 MB |" in rows
    assert "| – of the limit | 0.25 / **0.38** / 0.50 |" in rows


def test_a_disturbed_load_is_shown_beside_the_undisturbed_one_of_its_round(
    module: Module, tmp_path: Path
) -> None:
    text = reported(
        module,
        tmp_path,
        *(record("ours-native", "4x32", rps, round=at) for at, rps in enumerate((100.0, 200.0))),
        *(record("ours-native", "disturbed", 90.0, round=at) for at in range(2)),
    )

    (row,) = [
        line
        for line in text.partition("### While metrics and status are read")[2].splitlines()
        if line.startswith("| **modelserver**, native") and "0.45 / **0.68** / 0.90" in line
    ]
    assert row.endswith("| 2.0 | 2.0 |")
