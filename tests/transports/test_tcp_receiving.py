"""Handlers at a distance from their medium: what a connection adds to receiving."""

import asyncio

from waystation import Bus, Topic

NUMBERS = Topic("numbers.all", int)


async def test_a_handler_at_rest_goes_on_to_get_what_comes_one_by_one() -> None:
    listener = Bus("tcp://127.0.0.1:0?listen")
    async with listener:
        client = Bus((await listener.inspector().facts())["served at"])
        handled: asyncio.Queue[int] = asyncio.Queue()

        @client.subscribe(NUMBERS, group="readers", prefetch=4)
        async def read(number: int) -> None:
            handled.put_nowait(number)

        async with client.running():
            for number in range(50):
                await listener.publish(NUMBERS, number)
                assert await handled.get() == number
