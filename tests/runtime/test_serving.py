"""A bus that serves its medium to others, and leaves."""

from __future__ import annotations

import asyncio
import socket

from waystation import Bus, Topic

orders = Topic("orders.placed", int)


async def test_who_serves_lets_clients_finish_what_they_have_begun() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    handled: list[int] = []
    server = Bus("memory://")
    async with server:
        serving = server.serving("tcp://127.0.0.1:0")
        client = Bus(await serving.__aenter__())

        @client.subscribe(orders, group="billing", prefetch=1)
        async def charge(order: int) -> None:
            begun.set()
            await may_end.wait()
            handled.append(order)

        async with client.running():
            await server.publish(orders, 1)
            await begun.wait()
            leaving = asyncio.create_task(serving.__aexit__(None, None, None))
            await asyncio.sleep(0)
            await server.publish(orders, 2)
            await asyncio.wait([leaving], timeout=0.05)
            assert not leaving.done(), "a handler runs"
            may_end.set()
            await leaving
            assert handled == [1], "the second was not delivered any more"
            (group,) = await server.inspector().groups()
            assert (group.lag, group.in_flight) == (1, 0)


async def test_who_serves_does_not_wait_for_ever() -> None:
    server, begun = Bus("memory://"), asyncio.Event()
    async with server:
        async with server.serving("tcp://127.0.0.1:0", drain=0.05) as url:
            client = Bus(url)

            @client.subscribe(orders, group="billing")
            async def charge(order: int) -> None:
                begun.set()
                await asyncio.Event().wait()

            async with asyncio.timeout(10):
                running = client.running(drain=0)
                await running.__aenter__()
                await server.publish(orders, 1)
                await begun.wait()
        (group,) = await server.inspector().groups()
        assert (group.ready, group.in_flight) == (1, 0), "what was cut off comes again"
        await running.__aexit__(None, None, None)


async def test_a_client_of_a_served_bus_knows_that_it_is_not_alone() -> None:
    async with Bus("memory://").serving("tcp://127.0.0.1:0") as url, Bus(url) as client:
        assert client.capabilities.multi_process


async def test_two_peers_may_wait_for_each_other() -> None:
    ports = [_free_port() for _ in range(2)]
    one = Bus({"two.#": f"tcp://127.0.0.1:{ports[1]}", "one.#": f"tcp://127.0.0.1:{ports[0]}?listen"})
    two = Bus({"one.#": f"tcp://127.0.0.1:{ports[0]}", "two.#": f"tcp://127.0.0.1:{ports[1]}?listen"})
    seen: asyncio.Queue[str] = asyncio.Queue()

    @one.subscribe("one.news", group="g")
    async def at_one(text: str) -> None:
        await seen.put(f"one got {text}")

    @two.subscribe("two.news", group="g")
    async def at_two(text: str) -> None:
        await seen.put(f"two got {text}")

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for opening in [tasks.create_task(bus.__aenter__()) for bus in (one, two)]:
            await opening
        async with one.running(), two.running():
            await one.publish("two.news", "a")
            await two.publish("one.news", "b")
            assert {await seen.get(), await seen.get()} == {"two got a", "one got b"}
        await one.__aexit__(None, None, None)
        await two.__aexit__(None, None, None)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
