"""Real servers: started, used, killed, started again, ended."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.brokers import again, own
from waystation import ConfigurationError
from waystation._servers import desk, processes, state
from waystation._servers.desk import Server, down, found_in, up
from waystation._servers.kinds import KINDS, kind_of
from waystation._servers.plan import KindName
from waystation._servers.probing import answers

ALL: list[tuple[KindName, int]] = [(name, nodes) for name, kind in KINDS.items() for nodes in kind.nodes]
CLUSTERS = [(name, nodes) for name, nodes in ALL if nodes > 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_runs_own_server_can_be_used(kind: KindName, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{kind}_server")
    (node,) = server.nodes
    assert node.port is not None
    assert answers(kind, node.port, 1)
    assert f"127.0.0.1:{node.port}" in server.url


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_one_that_was_killed_is_started_again_where_it_was(kind: KindName, tmp_path: Path) -> None:
    with own(kind, tmp_path) as server:
        server.kill()
        (dead,) = server.nodes
        assert not processes.runs(dead)
        second = again(server)
        assert second.url == server.url
        (node,) = second.nodes
        assert (node.pid, node.port) != (dead.pid, None)
        assert processes.runs(node)
    assert not any(processes.runs(each) for each in second.state.processes)
    assert found_in(server.folder) is None


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kind", "nodes"), CLUSTERS)
def test_several_work_together_and_one_may_leave(kind: KindName, nodes: int, tmp_path: Path) -> None:
    with own(kind, tmp_path, nodes=nodes) as server:
        assert len(server.nodes) == nodes
        server.stop(nodes - 1)
        assert [processes.runs(node) for node in server.nodes] == [True] * (nodes - 1) + [False]
        assert all(processes.runs(node) for node in again(server).nodes)


def test_only_loopback_is_listened_on(
    redis_server: Server, nats_server: Server, rabbitmq_server: Server
) -> None:
    inner = (*rabbitmq_server.state.inner, *(node.port for node in rabbitmq_server.nodes))
    for port in (redis_server.nodes[0].port, nats_server.nodes[0].port, *inner):
        listening = [line.split()[1] for line in _tcp_table() if line.split()[1].endswith(f":{port:04X}")]
        assert listening
        assert {address.partition(":")[0] for address in listening} <= {"0100007F", "0" * 24 + "01000000"}


def test_what_runs_is_not_touched(tmp_path: Path) -> None:
    with own("redis", tmp_path) as server:
        (node,) = server.nodes
        assert up(kind_of("redis"), server.folder).nodes == server.nodes
        with pytest.raises(
            ConfigurationError, match=f"something listens on port {node.port} that was not started"
        ):
            up(kind_of("redis"), tmp_path / "another", port=node.port)
        assert processes.runs(node)


def test_a_folder_is_for_what_it_was_made_for(tmp_path: Path) -> None:
    with own("redis", tmp_path) as server:
        with pytest.raises(ConfigurationError, match="was made with nodes=1, not 2"):
            up(kind_of("redis"), server.folder, nodes=2)
        with pytest.raises(ConfigurationError, match="was made with flush=True, not False"):
            up(kind_of("redis"), server.folder, flush=False)
        with pytest.raises(ConfigurationError, match="is a folder of Redis, not of NATS"):
            up(kind_of("nats"), server.folder)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ConfigurationError, match="has files in it that are not a server's of ours"):
        up(kind_of("redis"), tmp_path)
    assert {each.name for each in tmp_path.iterdir()} <= {"letters.txt", "waystation-server.lock"}


def test_two_commands_do_not_start_two_servers(tmp_path: Path) -> None:
    with (
        state.held(tmp_path),
        pytest.raises(ConfigurationError, match="another command is starting or stopping"),
    ):
        up(kind_of("redis"), tmp_path, port=0)


def test_a_server_that_does_not_start_tells_why_and_leaves_nothing(tmp_path: Path) -> None:
    with own("redis", tmp_path) as server:
        server.stop()
        (server.folder / "node1" / "redis.conf").write_text("no-such-setting yes\n")
        with pytest.raises(ChildProcessError, match=r"Redis ended at once: .*its log: "):
            again(server)
        assert found_in(server.folder) is None


def test_one_that_does_not_answer_in_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = dataclasses.replace(KINDS["redis"], start_s=0.1)
    with own("redis", tmp_path) as server:
        pass
    assert server.folder.exists()
    monkeypatch.setattr(desk, "answers", lambda *_: False)
    with pytest.raises(ChildProcessError, match=r"Redis did not answer within 0.1 s"):
        up(hasty, server.folder)
    assert found_in(server.folder) is None


def test_a_number_that_was_given_to_somebody_else_is_not_killed(tmp_path: Path) -> None:
    stranger = processes.Started("node1", os.getpid(), "born another day", 1, "")
    assert not processes.runs(stranger)
    processes.send(stranger, signal.SIGKILL)
    processes.end([stranger], patience_s=1)


def test_a_frozen_server_answers_nobody_until_it_is_thawed(tmp_path: Path) -> None:
    with own("redis", tmp_path) as server:
        (node,) = server.nodes
        assert node.port is not None
        server.freeze()
        with socket.create_connection(("127.0.0.1", node.port)) as line:
            line.settimeout(0.2)
            line.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                line.recv(1)
            server.thaw()
            line.settimeout(5)
            assert line.recv(1) == b"+"


def test_stopping_what_does_not_run_is_nothing(tmp_path: Path) -> None:
    assert down(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()


def _tcp_table() -> list[str]:
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    if not tables[0].exists():
        pytest.skip("only Linux lists its sockets in files")
    lines = [line for table in tables for line in table.read_text().splitlines()[1:]]
    return [line for line in lines if line.split()[3] == "0A"]
