"""What every `Admin` promises: the fake, and the HTTP client against a pod on a real port."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from modelserver_operator.admin_client import Admin, PodUnreachableError, open_admin_client
from modelserver_operator.testing.fake_pods import FakePods

pytestmark = pytest.mark.asyncio

IP, NOBODY = "127.0.0.1", "127.0.9.9"
REPORT = {"podUid": "uid-1"}


@pytest.fixture
def pods() -> FakePods:
    pods = FakePods()
    pods.report(IP, REPORT)
    return pods


@pytest_asyncio.fixture(params=["fake", "http"])
async def admin(request: pytest.FixtureRequest, pods: FakePods) -> AsyncIterator[Admin]:
    if request.param == "fake":
        yield pods
        return
    async with AsyncExitStack() as resources:
        port = await resources.enter_async_context(pods.serve(IP, 0))
        yield await resources.enter_async_context(open_admin_client(10, port))


async def test_a_pod_answers_with_its_report_and_an_etag(admin: Admin) -> None:
    answer = await admin.fetch(IP, "")

    assert answer.body is not None
    assert b'"podUid": "uid-1"' in answer.body
    assert answer.etag


async def test_a_report_that_is_known_is_not_sent_again(admin: Admin) -> None:
    known = await admin.fetch(IP, "")

    again = await admin.fetch(IP, known.etag)

    assert again.body is None


async def test_a_changed_report_is_sent_with_another_etag(admin: Admin, pods: FakePods) -> None:
    known = await admin.fetch(IP, "")
    pods.report(IP, {**REPORT, "ready": True})

    again = await admin.fetch(IP, known.etag)

    assert again.body not in (None, known.body)
    assert again.etag != known.etag


async def test_where_nobody_answers_is_unreachable(admin: Admin) -> None:
    with pytest.raises(PodUnreachableError, match=NOBODY):
        await admin.fetch(NOBODY, "")
