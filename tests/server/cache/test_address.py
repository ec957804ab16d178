from dataclasses import replace

import pytest

from modelserver.core.storage_path import FileInfo
from modelserver.sources.cache.address import address_of

URI = "gs://bucket/m/1"
FILES = {"model": FileInfo(3, "7", None, "md5", 17), "assets/a": FileInfo(0, "8", None, "md5'", 0)}
UNNAMED = {"model": FileInfo(3, "7")}


def test_the_same_content_has_the_same_address_wherever_and_whenever_it_was_written() -> None:
    written_again = {name: replace(info, tag=f"{info.tag}0") for name, info in FILES.items()}

    assert address_of("gs://elsewhere/n/2", written_again) == address_of(URI, FILES)


def test_the_order_of_a_listing_does_not_count() -> None:
    assert address_of(URI, dict(reversed(FILES.items()))) == address_of(URI, FILES)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({**FILES, "model": replace(FILES["model"], size=4)}, id="size"),
        pytest.param({**FILES, "model": replace(FILES["model"], digest="other")}, id="digest"),
        pytest.param({**FILES, "model": replace(FILES["model"], crc32c=18)}, id="checksum"),
        pytest.param({**FILES, "more": FileInfo(0, "9", None, "md5")}, id="more"),
        pytest.param({"model": FILES["model"]}, id="less"),
        pytest.param({"n": FILES["model"], "assets/a": FILES["assets/a"]}, id="name"),
        pytest.param({}, id="nothing"),
    ],
)
def test_other_content_has_another_address(other: dict[str, FileInfo]) -> None:
    assert address_of(URI, other) != address_of(URI, FILES)


def test_content_that_nobody_names_counts_as_itself_only() -> None:
    written_again = {"model": FileInfo(3, "8")}

    addresses = {
        address_of(URI, UNNAMED),
        address_of("gs://elsewhere/m/1", UNNAMED),
        address_of(URI, written_again),
    }

    assert len(addresses) == 3
    assert address_of(URI, dict(UNNAMED)) == address_of(URI, UNNAMED)


def test_names_do_not_run_into_each_other() -> None:
    one = {"a": FileInfo(1, "", None, "x"), "b": FileInfo(1, "", None, "y")}
    other = {"a": FileInfo(1, "", None, "x\0b"), "": FileInfo(1, "", None, "y")}

    assert address_of(URI, one) != address_of(URI, other)


@pytest.mark.parametrize("name", ["größe/模型", "\udcff", "a b"])
def test_an_address_is_a_plain_name_of_a_file_whatever_is_named(name: str) -> None:
    address = address_of(f"gs://bucket/{name}", {name: FileInfo(3, "7")})

    assert len(address) == 32
    assert set(address) <= set("0123456789abcdef")


def test_an_address_is_the_same_in_every_process_and_release() -> None:
    assert address_of(URI, FILES) == "752e47088a16fa26cbd37710652d9c0e"
