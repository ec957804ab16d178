"""A config document that changes while its server runs: models come, go and change, and no call
fails.
"""

import grpc
import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def test_a_pod_is_ready_once_the_models_that_are_awaited_serve_and_stays_so(
    make_pod, table, model, tmp_path
):
    good, late = table("good", 1, 10), str(tmp_path / "models" / "late")
    pod = make_pod()
    pod.write(
        model("good", good), model("late", late), model("never", "/no/such", **{"await": False})
    )
    pod.start()
    pod.eventually(lambda: pod.get("/readyz")[2] == b"waiting for a version of: late\n")
    assert pod.get("/livez")[0] == 200
    assert pod.report()["ready"] is False

    table("late", 1, 20)
    pod.wait_until_ready()

    pod.write(model("good", good), model("never", "/no/such"))
    pod.eventually(lambda: len(pod.report()["models"]) == 2)
    assert pod.is_ready()


def test_models_come_and_go_without_a_restart_and_no_call_of_the_others_fails(
    make_pod, table, model
):
    first, second = model("first", table("first", 1, 10)), model("second", table("second", 1, 20))
    pod = make_pod()
    pod.write(first)
    pod.start().wait_until_ready()

    with pod.client() as client, client.looking_up("first") as (answers, failures):
        pod.write(first, second)
        pod.wait_for_versions("second", 1)
        assert client.look_up("second") == (1, 20)
        config_hash = pod.write(first)
        assert [m["name"] for m in pod.wait_for_config(config_hash)["models"]] == ["first"]

        with pytest.raises(grpc.RpcError) as refused:
            pod.eventually(lambda: not client.look_up("second"))

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert failures == []
    assert answers == {(1, 10)}


def test_version_policy_and_labels_change_without_a_restart(make_pod, table, model):
    base_path = table("m", 1, 10)
    table("m", 2, 20)
    pod = make_pod()
    pod.write(model("m", base_path, labels={"stable": 1}))
    pod.start()
    pod.wait_for_versions("m", 2)
    assert pod.model("m")["labels"] == [{"name": "stable", "version": 1, "pending": True}]

    policy = {"specific": {"versions": [1, 2]}}
    pod.write(model("m", base_path, labels={"stable": 1}, versionPolicy=policy))
    pod.wait_for_versions("m", 1, 2)

    with pod.client() as client:
        assert client.look_up("m", label="stable") == (1, 10)
        pod.write(model("m", base_path, labels={"stable": 2}, versionPolicy=policy))
        pod.eventually(lambda: client.look_up("m", label="stable") == (2, 20))
    rows = {row["version"]: row["labels"] for row in pod.model("m")["versions"]}
    assert rows == {2: ["stable"], 1: []}


def test_batching_changes_under_load_and_fails_no_call(make_pod, table, model):
    base_path = table("m", 1, 10)
    pod = make_pod()
    pod.write(model("m", base_path))
    pod.start().wait_until_ready()

    with pod.client() as client, client.looking_up("m", threads=8) as (answers, failures):
        for size in (8, 16, None, 8, 4):
            batching = None if size is None else {"maxBatchSize": size, "maxEnqueuedBatches": 1000}
            pod.wait_for_config(pod.write(model("m", base_path, batching=batching)))
            before = batched_rows(pod)
            answers.clear()
            pod.eventually(lambda: answers)
            if size is not None:
                pod.eventually(lambda before=before: batched_rows(pod) > before)

    assert failures == []
    assert answers == {(1, 10)}


def batched_rows(pod):
    return pod.metric("modelserver_batch_rows_sum")


def test_another_poll_request_looks_for_versions_once(make_pod, table, model):
    base_path = table("m", 1, 10)
    pod = make_pod()
    pod.write(model("m", base_path, pollSeconds=0))
    pod.start().wait_until_ready()
    table("m", 2, 20)

    pod.write(model("m", base_path, pollSeconds=0), pollRequest="now")

    pod.wait_for_versions("m", 2)


def test_a_version_counts_once_it_has_the_ready_marker(make_pod, table, model, tmp_path):
    base_path = table("m", 1, 10, _SUCCESS="")
    table("m", 2, 20)
    pod = make_pod()
    pod.write(model("m", base_path, readyMarker="_SUCCESS"))
    pod.start()
    pod.wait_for_versions("m", 1)
    waiting = pod.model("m")["versions"][0]
    assert (waiting["version"], waiting["state"], waiting["reason"]) == (2, "Start", "Incomplete")
    assert waiting["message"] == "waiting for upload: _SUCCESS (ready marker)"

    (tmp_path / "models" / "m" / "2" / "_SUCCESS").touch()

    pod.wait_for_versions("m", 2)


def test_a_document_that_is_wrong_or_missing_changes_nothing_and_is_told(make_pod, table, model):
    base_path = table("m", 1, 10)
    pod = make_pod()
    good_hash = pod.write(model("m", base_path))
    pod.start().wait_until_ready()

    for content, message in (
        (b'{"schemaVersion": 1, "models": [', "The config document is not JSON: "),
        (
            b'{"schemaVersion": 7}',
            "schemaVersion 7 is not understood by this server, which knows 1",
        ),
        (b'{"schemaVersion": 1, "models": [{}]}', "models[0].name: a string is expected"),
    ):
        bad_hash = pod.write_bytes(content)
        pod.eventually(lambda h=bad_hash: (pod.report()["configError"] or {}).get("hash") == h)
        report = pod.report()
        assert report["configError"]["message"].startswith(message)
        assert report["configHash"] == good_hash
        assert pod.available("m") == {1}

    pod.document.unlink()
    pod.eventually(lambda: "Cannot read" in pod.report()["configError"]["message"])
    pod.write(model("m", base_path))
    pod.eventually(lambda: pod.report()["configError"] is None)
    with pod.client() as client:
        assert client.look_up("m") == (1, 10)


def test_a_server_without_a_document_yet_waits_for_it_and_says_so(make_pod, table, model):
    pod = make_pod().start()
    pod.eventually(lambda: b"no configuration yet: Cannot read" in pod.get("/readyz")[2])

    pod.write(model("m", table("m", 1, 10)))

    pod.wait_until_ready()


def test_models_that_cannot_be_had_are_told_and_the_others_serve(make_pod, table, model):
    base_path = table("m", 1, 10)
    pod = make_pod()
    pod.write(
        model("m", base_path),
        model("cloud", "nowhere://bucket/model", **{"await": False}),
        model("strange", base_path, platform="onyx", **{"await": False}),
    )
    pod.start().wait_until_ready()
    pod.eventually(
        lambda: all(m["source"]["accessible"] is not None for m in pod.report()["models"])
    )

    sources = {m["name"]: m["source"] for m in pod.report()["models"]}
    assert sources["m"] == {"accessible": True, "reason": "", "message": ""}
    assert (sources["cloud"]["accessible"], sources["cloud"]["reason"]) == (False, "Unsupported")
    assert "nowhere:// is not supported" in sources["cloud"]["message"]
    assert (sources["strange"]["accessible"], sources["strange"]["reason"]) == (
        False,
        "Unsupported",
    )
    assert "No platform is called 'onyx'" in sources["strange"]["message"]


def test_a_model_that_is_pointed_elsewhere_serves_on_until_something_is_there(
    make_pod, table, model
):
    old, new = table("old", 1, 10), table("new", 2, 20)
    pod = make_pod()
    pod.write(model("m", old))
    pod.start().wait_until_ready()

    with pod.client() as client, client.looking_up("m") as (answers, failures):
        pod.write(model("m", "/no/such/path"))
        pod.eventually(lambda: pod.model("m")["source"]["accessible"] is False)
        assert client.look_up("m") == (1, 10)
        pod.write(model("m", new))
        pod.wait_for_versions("m", 2)
        assert client.look_up("m") == (2, 20)

    assert failures == []
    assert answers == {(1, 10), (2, 20)}


def test_a_version_of_the_same_number_elsewhere_takes_over_without_a_gap(make_pod, table, model):
    old, new = table("old", 1, 10), table("new", 1, 20)
    pod = make_pod()
    pod.write(model("m", old))
    pod.start().wait_until_ready()

    with pod.client() as client, client.looking_up("m") as (answers, failures):
        pod.write(model("m", new))
        pod.eventually(lambda: (1, 20) in answers)

    assert failures == []
    assert answers == {(1, 10), (1, 20)}


def test_the_report_has_a_tag_that_stays_until_something_happens(make_pod, table, model):
    base_path = table("m", 1, 10)
    pod = make_pod()
    pod.write(model("m", base_path))
    pod.start().wait_until_ready()
    status, headers, _ = pod.get("/status")
    assert status == 200
    tag = headers["ETag"]
    assert tag.startswith('W/"')

    status, _, body = pod.get("/status", **{"If-None-Match": tag})
    assert (status, body) == (304, b"")

    table("m", 2, 20)
    pod.wait_for_versions("m", 2)
    assert pod.get("/status", **{"If-None-Match": tag})[0] == 200
