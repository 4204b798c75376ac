"""Several addresses in one URL: whoever leaves is left, and whoever was only cut off is gone back to."""

import asyncio
import contextlib
from contextlib import AsyncExitStack

from tests.peer.proxy import proxied
from tests.peer.stand import PATIENCE_S, Stand, serving
from waystation import Bus, SendUnconfirmed, Topic
from waystation._core.inspection import Inspector

NUMBERS = Topic("numbers.all", int)


async def publish_all(client: Bus) -> None:
    await asyncio.gather(*(client.publish(NUMBERS, number) for number in range(20)))


async def publish_in_doubt(client: Bus) -> None:
    """Publish what may be on its way to a server that is gone without a word."""
    with contextlib.suppress(SendUnconfirmed):
        await client.publish(NUMBERS, 0)


async def count(stand: Stand) -> int:
    assert isinstance(stand.inner, Inspector)
    return sum([info.messages for info in await stand.inner.topics()])


async def test_after_a_cut_the_session_goes_on_at_the_server_that_knows_it() -> None:
    async with serving() as first, serving() as second, proxied(first.url) as proxy:
        other = second.url.removeprefix("tcp://")
        async with asyncio.timeout(PATIENCE_S), Bus(f"{proxy.url},{other}") as client:
            await publish_all(client)
            for _ in range(3):
                proxy.cut_at["down"] = proxy.passed["down"] + 1  # the answer is on its way, and never comes
                await publish_all(client)
        assert proxy.cuts == 3
        assert await count(first) == 80  # nothing twice, and nothing in doubt
        assert await count(second) == 0


async def test_when_a_server_is_gone_the_next_one_is_gone_to() -> None:
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(serving())
        first = await stack.enter_async_context(serving())
        proxy = await stack.enter_async_context(proxied(first.url))
        client = await stack.enter_async_context(Bus(f"{proxy.url},{second.url.removeprefix('tcp://')}"))
        async with asyncio.timeout(PATIENCE_S):
            await publish_all(client)
            proxy.refuses = True
            proxy.cut()
            await publish_in_doubt(client)
            await publish_all(client)
        assert await count(second) >= 20


async def test_a_server_that_takes_leave_is_left_at_once() -> None:
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(serving())
        leaving = await stack.enter_async_context(AsyncExitStack())
        first = await leaving.enter_async_context(serving())
        client = await stack.enter_async_context(Bus(f"{first.url},{second.url.removeprefix('tcp://')}"))
        async with asyncio.timeout(PATIENCE_S):
            await publish_all(client)
            await leaving.aclose()
            await publish_all(client)
        assert await count(second) == 20
