"""The network between a client and its server is gone for a while: not refused, just silent (F-22, F-26, F-51)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from waystation._runtime.clock import SystemClock
from waystation.transports.sqlite import SqliteTransport

from .network import FAR, NEAR, SERVER, Network, why_no_network
from .store import SETTLED_WITHIN_S

OPTIONS = "?insecure=yes-i-know&heartbeat=200ms"


@pytest.fixture
def network() -> Iterator[Network]:
    if reason := why_no_network():
        pytest.skip(reason)
    network = Network()
    yield network
    network.close()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("gone_s", [2.0, 7.0], ids=["shorter than a session is kept", "longer"])
async def test_after_a_partition_everything_goes_on_by_itself_and_nothing_is_lost_or_doubled(
    network: Network, tmp_path: Path, gone_s: float
) -> None:
    store = tmp_path / "bus.db"
    listen = f"tcp://{SERVER}:7400{OPTIONS}"
    serve = [sys.executable, "-m", "waystation.cli", "serve", f"sqlite:///{store}", "--listen", listen]
    away = [sys.executable, "-m", "tests.faults.away", f"{listen}&tls=off&connect_timeout=20s"]
    moment = threading.Event()
    with (
        (tmp_path / "server.log").open("w") as server_log,
        (tmp_path / "client.log").open("w") as client_log,
        subprocess.Popen(network.command(NEAR, *serve), stdout=server_log, stderr=server_log) as server,
        subprocess.Popen(
            network.command(FAR, *away),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=client_log,
            text=True,
        ) as client,
    ):
        try:
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n", (tmp_path / "client.log").read_text()
            network.cut()
            moment.wait(gone_s)
            network.heal()
            healed = time.monotonic()
            log = tmp_path / "client.log"
            while "connected again" not in log.read_text():
                assert time.monotonic() - healed < SETTLED_WITHIN_S, log.read_text()
                moment.wait(0.02)
            print(f"connected again {time.monotonic() - healed:.1f} s after the network was back")
            moment.wait(0.3)
            client.stdin.write("stop\n")
            client.stdin.flush()
            said = json.loads(client.stdout.readline())
            print(said)
        finally:
            client.kill()
            server.terminate()
    told = (tmp_path / "client.log").read_text()
    assert told.count("WARNING waystation.peer") == 1, told
    assert said["settled_s"] < SETTLED_WITHIN_S
    transport = SqliteTransport(str(store), clock=SystemClock())
    await transport.open()
    (group,) = await transport.groups()
    (topic,) = await transport.topics()
    await transport.close()
    assert topic.next_offset == said["sent"], "something was stored twice, or not at all"
    assert group.lag == 0
