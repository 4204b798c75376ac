"""What may reach a handler, and what holds back what."""

from waystation._core.admission import comes_again, is_expired, lane_of, refusal, sequence_of
from waystation._core.delivery import ACCEPT, RELEASE, DeadLetter, Delivery, Retry
from waystation._core.message import Message
from waystation._core.retry import RetryPolicy

POLICY = RetryPolicy(max_attempts=3)


def delivery(*, attempt: int = 1, expires_at: float | None = None, error: str | None = None) -> Delivery:
    return Delivery.of(Message("1", "orders", b"{}", "k", expires_at=expires_at), attempt, None, error)


def test_an_ordinary_delivery_may_start() -> None:
    assert refusal(delivery(attempt=3, expires_at=11.0), POLICY, now=10.0) is None


def test_an_expired_message_is_dead() -> None:
    dead = refusal(delivery(expires_at=10.0), POLICY, now=10.5)
    assert dead is not None
    assert dead.reason == "MessageExpired: expired 0.500 s before a handler could start"
    assert is_expired(delivery(expires_at=10.0), now=10.0)


def test_a_message_whose_process_died_too_often_is_dead() -> None:
    dead = refusal(delivery(attempt=4), POLICY, now=10.0)
    assert dead is not None
    assert "3 attempts" in dead.reason


def test_a_damaged_message_is_dead() -> None:
    dead = refusal(delivery(error="checksum differs"), POLICY, now=10.0)
    assert dead is not None
    assert dead.reason == "damaged: checksum differs"


def test_a_key_stays_in_its_lane() -> None:
    lanes = {lane_of(f"customer-{n}", 8) for n in range(200)}
    assert lanes == set(range(8))
    assert lane_of("A-1", 8) == lane_of("A-1", 8)


def test_only_what_comes_again_holds_back_its_successors() -> None:
    assert comes_again(Retry(1.0))
    assert comes_again(RELEASE)
    assert not comes_again(ACCEPT)
    assert not comes_again(DeadLetter("no"))


def test_order_is_per_topic_and_key() -> None:
    assert sequence_of(delivery()) == ("orders", "k")
    assert sequence_of(Delivery.of(Message("1", "orders", b""), 1, None)) is None
