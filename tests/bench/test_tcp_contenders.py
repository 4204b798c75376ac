"""The bare loop and the peers do the work that they are compared by, between real processes; a loss is no result."""

import subprocess
import sys

import pytest

from waystation.bench import peers
from waystation.bench.asking import ask_in_turn, ask_together, check_answer
from waystation.bench.contenders import BARE, Contender, latencies_us, peer, told_per_s, trips_per_s
from waystation.bench.orders import Order, make_orders
from waystation.bench.peers import PEERS, Peer
from waystation.bench.processes import Worker
from waystation.bench.report import MeasurementFailed

CONTENDERS = {"bare": BARE} | {name: peer(name) for name in peers.installed()}


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_question_is_answered_one_after_another(name: str) -> None:
    latencies = latencies_us(CONTENDERS[name], 20)
    assert len(latencies) == 20
    assert all(latency > 0 for latency in latencies)


@pytest.mark.parametrize("name", CONTENDERS)
@pytest.mark.parametrize(("total", "in_flight"), [(500, 100), (10, 100)])
def test_every_question_is_answered_with_many_under_way(name: str, total: int, in_flight: int) -> None:
    assert trips_per_s(CONTENDERS[name], total, in_flight) > 0


@pytest.mark.parametrize("name", CONTENDERS)
def test_everything_arrives_one_way(name: str) -> None:
    assert told_per_s(CONTENDERS[name], 2_500) > 0


def test_a_message_that_does_not_arrive_fails_the_measurement(capfd: pytest.CaptureFixture[str]) -> None:
    with Worker("bare-take", port=0, total=10) as taker:
        port = taker.answer()
        with Worker("bare-tell", port=port, total=9) as teller:
            teller.answer()
            teller.go()
            with pytest.raises(MeasurementFailed, match="'bare-take' ended early"):
                taker.answer()
    assert "9 orders came" in capfd.readouterr().err


def test_an_answer_to_another_question_fails_the_measurement() -> None:
    (order,) = make_orders(3, 1)
    check_answer(3, order)
    with pytest.raises(MeasurementFailed, match="question 4 was answered with 3"):
        check_answer(4, order)


async def test_asking_checks_each_answer() -> None:
    async def confused(order: Order) -> Order:
        return make_orders(order.number + (order.number == 7), 1)[0]

    with pytest.raises(MeasurementFailed):
        await ask_in_turn(confused, 10)
    with pytest.raises(ExceptionGroup) as failed:
        await ask_together(confused, 10, 2)
    assert failed.group_contains(MeasurementFailed)


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        peers,
        "PEERS",
        {"none": Peer("no_such_package", "nowhere"), "streams": Peer("", PEERS["asyncio streams"].module)},
    )
    assert peers.installed() == ["streams"]


def test_a_peer_whose_broker_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "nats_server_path", lambda: None)
    assert not Peer("", "nowhere", brokered=True).installed
    assert Peer("", "nowhere").installed


def test_no_peer_is_imported_by_the_benchmarks() -> None:
    packages = {peer.package for peer in PEERS.values()} - {""}
    program = f"import sys, waystation.bench.worker; sys.exit(bool({packages!r} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_contender_without_a_broker_has_nothing_to_start() -> None:
    with Contender("bare").broker() as port:
        assert port == 0
