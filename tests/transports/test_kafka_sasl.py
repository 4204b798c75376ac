"""kafka:// and passwords, on a broker that asks for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import again, own
from tests.transports.kafka_stand import ORDERS, PATIENCE_S, make, message
from waystation import Refused
from waystation._core.delivery import ACCEPT
from waystation._core.ports import Topology
from waystation._servers.desk import Server
from waystation._servers.probing import free_ports

pytestmark = pytest.mark.timeout(120)

_PASSWORD = "correct-horse-battery"
_WRONG = "hunter2-wrong"

#: How long a question to a broker may take, and what opening takes besides, in seconds.
_REFUSED_S = 12.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where a broker lets in `ann` with her password, and nobody else."""
    (port,) = free_ports(1)
    with own("kafka", tmp_path) as server:
        server.stop()
        _ask_for_passwords(server, port)
        again(server)
        yield f"127.0.0.1:{port}"


def _ask_for_passwords(server: Server, port: int) -> None:
    """Give a node one more place to listen at, where clients say who they are."""
    file = server.folder / "node1" / "server.properties"
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
    here = f",SASL://127.0.0.1:{port}"
    lines["listeners"] += here
    lines["advertised.listeners"] += here
    lines["listener.security.protocol.map"] += ",SASL:SASL_PLAINTEXT"
    lines["listener.name.sasl.sasl.enabled.mechanisms"] = "PLAIN"
    lines["listener.name.sasl.plain.sasl.jaas.config"] = (
        f'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="{_PASSWORD}";'
    )
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))


async def test_a_password_opens_to_who_knows_it_and_is_told_to_nobody(
    address: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    transport = make(f"kafka://ann:{_PASSWORD}@{address}?sasl=PLAIN")
    await transport.open()
    await transport.declare(Topology(("orders",), (ORDERS,)))
    feed = await transport.open_feed(ORDERS)
    await transport.send([message("m-1")])
    async with asyncio.timeout(PATIENCE_S):
        (delivery,) = await feed.receive(1)
    await feed.settle([(delivery, ACCEPT)])
    await transport.close()
    assert delivery.message.id == "m-1"

    stranger = make(f"kafka://ann:{_WRONG}@{address}?sasl=PLAIN")
    with pytest.raises(Refused) as refused:
        async with asyncio.timeout(_REFUSED_S):
            await stranger.open()
    sentence = str(refused.value)
    assert address in sentence
    assert "\n" not in sentence
    told = "".join((caplog.text, *capfd.readouterr(), sentence, repr(transport), repr(stranger)))
    assert _PASSWORD not in told
    assert _WRONG not in told
