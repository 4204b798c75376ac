"""What a `sqlite://` URL may say beside its path."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from waystation import Bus
from waystation._core.errors import ConfigurationError
from waystation._core.limits import DEDUPE_WINDOW_S
from waystation._core.url import parse_url
from waystation._store.retention import Retention
from waystation.transports.sqlite.options import Options, read_options


def read(query: str) -> Options:
    return read_options(parse_url(f"sqlite:///bus.db{query}"))


def test_nothing_need_be_said() -> None:
    assert read("") == Options(flush_settlements=False, dedupe_window_s=DEDUPE_WINDOW_S)


@pytest.mark.parametrize(("text", "window_s"), [("10m", 600.0), ("90s", 90.0), ("1h", 3600.0)])
def test_the_window_of_dedupe_keys_is_a_duration(text: str, window_s: float) -> None:
    assert read(f"?dedupe_window={text}&settle=flushed") == Options(
        flush_settlements=True, dedupe_window_s=window_s
    )


def test_what_is_kept_has_an_age_and_a_size() -> None:
    assert read("?keep=7d&keep_bytes=10GiB").retention == Retention(
        keep_s=7 * 86400.0, bytes_max=10 * 1024**3
    )


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("?dedupe_windw=10m", "did you mean 'dedupe_window'"),
        ("?dedupe_window=10", "'2m', '1h'"),
        ("?dedupe_window=-1s", "dedupe_window"),
        ("?keep=forever", "keep='forever'"),
        ("?keep_bytes=10GB", "'10GiB'"),
        ("?keep_bytes=0MiB", "'10GiB'"),
        ("?keep_byte=1GiB", "did you mean 'keep_bytes'"),
        ("?settle=maybe", "'written'"),
    ],
)
def test_what_cannot_be_is_refused(query: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read(query)


async def test_two_publishers_of_one_file_share_its_keys(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bus.db?dedupe_window=1h"
    async with Bus(url) as one, Bus(url) as other:
        first = await one.publish("t", b"", dedupe_key="a")
        again = await other.publish("t", b"", dedupe_key="a")
        assert (again.message_id, again.duplicate) == (first.message_id, True)
        assert again.durability == first.durability
        assert len(await one.inspector("t").browse("t", start="earliest", limit=9)) == 1


async def test_a_transaction_stores_a_key_once_and_only_if_it_commits(tmp_path: Path) -> None:
    async with Bus(f"sqlite:///{tmp_path}/bus.db") as bus:

        async def fail() -> None:
            async with bus.transaction() as transaction:
                await transaction.publish("t", b"undone", dedupe_key="a")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with bus.transaction() as transaction:
            await transaction.publish("t", b"kept", dedupe_key="a")
            await transaction.publish("t", b"again", dedupe_key="a")
        assert (await bus.publish("t", b"late", dedupe_key="a")).duplicate
        rows = await bus.inspector("t").browse("t", start="earliest", limit=9)
        assert [message.body for _, message in rows] == [b"kept"]


async def test_a_log_that_is_too_long_is_told_with_who_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bus(f"sqlite:///{tmp_path}/shop.db") as bus:
        assert (await bus.inspector().facts())["write-ahead log"].endswith(" bytes")
        monkeypatch.setattr(import_module("waystation.transports.sqlite.transport"), "WAL_ALARM_BYTES", -1)
        told = (await bus.inspector().facts())["write-ahead log"]
    assert told.endswith("keeps it from shrinking; nobody that is known reads now")
