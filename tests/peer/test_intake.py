"""What many clients send to one store: together, each in his order, and nobody waits for somebody else's large body."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from waystation._core.delivery import Receipt, SendOutcome
from waystation._core.inspection import Inspector
from waystation._core.limits import ROW_BODY_BYTES_MAX
from waystation._core.message import Message
from waystation._runtime.clock import SystemClock
from waystation.transports.sqlite import SqliteTransport

from .stand import PATIENCE_S, Stand, client, serving, until

TOPIC = "work"
LARGE = bytes(ROW_BODY_BYTES_MAX + 1)


class SlowDisk(SqliteTransport):
    """A store that takes for large bodies as long as the test lets it.

    Attributes:
        begun: Ids of the messages with large bodies whose storing has begun.
        goes_on: Until it is set, they take for ever.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path / "bus.db"), clock=SystemClock())
        self.begun: list[str] = []
        self.goes_on = asyncio.Event()

    async def send(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        """Wait, if one of them is large."""
        large = [message.id for message in messages if len(message.body) > ROW_BODY_BYTES_MAX]
        if large:
            self.begun += large
            await self.goes_on.wait()
        return await super().send(messages)


async def stored(stand: Stand) -> list[str]:
    assert isinstance(stand.inner, Inspector)
    return [message.id for _, message in await stand.inner.browse(TOPIC, start="earliest", limit=100)]


def message(id_: str, body: bytes = b"", key: str = "k") -> list[Message]:
    return [Message(id_, TOPIC, body, key=key)]


async def test_while_a_large_body_is_stored_others_send_and_its_sender_keeps_his_order(
    tmp_path: Path,
) -> None:
    """F-45."""
    disk = SlowDisk(tmp_path)
    async with serving(disk) as stand, client(stand.url) as one, client(stand.url) as other:
        sent = [("a0", b""), ("a1", LARGE), ("a2", b""), ("a3", LARGE), ("a4", b"")]
        sending = [asyncio.ensure_future(one.send(message(*each))) for each in sent]
        await until(lambda: disk.begun, "the large body is being stored")
        async with asyncio.timeout(PATIENCE_S):
            for number in range(3):
                (outcome,) = await other.send(message(f"b{number}"))
                assert isinstance(outcome, Receipt), outcome
        assert await stored(stand) == ["a0", "b0", "b1", "b2"]
        disk.goes_on.set()
        async with asyncio.timeout(PATIENCE_S):
            outcomes = [outcome for (outcome,) in await asyncio.gather(*sending)]
        assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes
        assert [each for each in await stored(stand) if each.startswith("a")] == [
            "a0",
            "a1",
            "a2",
            "a3",
            "a4",
        ]


async def test_large_bodies_of_several_clients_are_stored_one_after_the_other(tmp_path: Path) -> None:
    """Two that are written at the same time take no less time, and twice the memory."""
    disk = SlowDisk(tmp_path)
    async with serving(disk) as stand, client(stand.url) as one, client(stand.url) as other:
        sending = [asyncio.ensure_future(one.send(message("a0", LARGE)))]
        await until(lambda: disk.begun, "the first is being stored")
        sending.append(asyncio.ensure_future(other.send(message("b0", LARGE))))
        await until(lambda: stand.server._intake._aside, "the second waits")
        assert disk.begun == ["a0"]
        disk.goes_on.set()
        async with asyncio.timeout(PATIENCE_S):
            assert all(isinstance(outcome, Receipt) for (outcome,) in await asyncio.gather(*sending))
        assert disk.begun == ["a0", "b0"]


async def test_a_server_that_stops_stores_what_it_has_of_large_bodies_and_behind_them(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    async with serving(disk) as stand, client(stand.url) as remote:
        sent = [("m0", LARGE), ("m1", b"")]
        sending = [asyncio.ensure_future(remote.send(message(*each))) for each in sent]
        await until(lambda: any(stand.server._intake._behind.values()), "the second waits behind the first")
        closing = asyncio.ensure_future(stand.server.close(PATIENCE_S))
        await until(lambda: stand.server._leaving, "the server is about to leave")
        disk.goes_on.set()
        async with asyncio.timeout(PATIENCE_S):
            outcomes = [outcome for (outcome,) in await asyncio.gather(*sending)]
            await closing
        assert all(isinstance(outcome, Receipt) for outcome in outcomes), outcomes
        assert await stored(stand) == ["m0", "m1"]
