"""The operator's HTTP port."""

import aiohttp
import pytest

from modelserver_operator.http_server import Page, probe, serve

pytestmark = pytest.mark.asyncio

HOST = "127.0.0.1"


async def get(
    port: int, path: str, method: str = "GET"
) -> tuple[int, str, "aiohttp.typedefs.LooseHeaders"]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{HOST}:{port}{path}") as response,
    ):
        return response.status, await response.text(), response.headers


async def test_a_probe_without_trouble_is_fine() -> None:
    async with serve(HOST, 0, {"/livez": lambda: probe([])}) as port:
        status, body, _ = await get(port, "/livez")

    assert (status, body) == (200, "ok\n")


async def test_a_probe_tells_every_trouble() -> None:
    async with serve(HOST, 0, {"/livez": lambda: probe(["one", "two"])}) as port:
        status, body, _ = await get(port, "/livez")

    assert (status, body) == (503, "one\ntwo\n")


async def test_pages_are_made_anew_for_each_request() -> None:
    counts = iter(range(10))
    async with serve(HOST, 0, {"/n": lambda: Page(str(next(counts)).encode())}) as port:
        assert [(await get(port, "/n"))[1] for _ in range(3)] == ["0", "1", "2"]


async def test_a_page_has_its_content_type() -> None:
    page = Page(b"x 1\n", content_type="text/plain; version=0.0.4; charset=utf-8")
    async with serve(HOST, 0, {"/metrics": lambda: page}) as port:
        _, _, headers = await get(port, "/metrics")

    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"  # type: ignore[index,call-overload]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 405), ("DELETE", 405)])
async def test_nothing_can_be_changed_through_it(method: str, status: int) -> None:
    async with serve(HOST, 0, {"/livez": lambda: probe([])}) as port:
        assert (await get(port, "/livez", method))[0] == status


async def test_the_first_page_lists_the_others() -> None:
    async with serve(HOST, 0, {"/livez": lambda: probe([]), "/x": lambda: probe([])}) as port:
        _, body, _ = await get(port, "/")

    assert 'href="/livez"' in body
    assert 'href="/x"' in body


async def test_what_does_not_exist_is_not_found() -> None:
    async with serve(HOST, 0, {}) as port:
        assert (await get(port, "/secrets"))[0] == 404


async def test_a_port_that_is_taken_is_told() -> None:
    async with serve(HOST, 0, {}) as port:
        with pytest.raises(OSError, match=str(port)):
            async with serve(HOST, port, {}):
                raise AssertionError


async def test_the_port_is_free_again_afterwards() -> None:
    async with serve(HOST, 0, {}) as port:
        pass
    async with serve(HOST, port, {"/livez": lambda: probe([])}) as again:
        assert again == port
