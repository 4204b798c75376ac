"""Errors that travel: the same class, text and facts at the other end."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core import errors
from waystation._core.errors import (
    HandlerTimeout,
    MessageTooLarge,
    RemoteProtocolError,
    RequestFailed,
    RequestTimeout,
    SendRejected,
    SendUnconfirmed,
    SettlementLost,
    StreamBroken,
    TransportError,
    UnsupportedCapability,
    WaystationError,
)
from waystation._core.limits import REASON_CHARS_MAX
from waystation._wire.failures import ended, error_of, failed
from waystation._wire.frames import Ended, Failed
from waystation._wire.framing import Decoder, encode

WITH_FACTS: list[WaystationError] = [
    UnsupportedCapability("no", capability="replay", transport="memory"),
    MessageTooLarge("large", size_bytes=9, size_bytes_max=8),
    SendUnconfirmed("late", message_id="m-1"),
    HandlerTimeout("slow", limit_s=2.5),
    RequestTimeout("slow", parts=3),
    RequestFailed("failed", reason="ValueError: 1"),
    StreamBroken("broken", parts=3),
    RemoteProtocolError("wrong", code="limit", field="Send.batch"),
]

CLASSES = [
    thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, WaystationError)
]


def travelled(failure: Failed | Ended) -> Failed | Ended:
    data = encode(failure)
    assert isinstance(data, bytes)
    (heard,) = Decoder(frame_bytes_max=1 << 20, whole_bytes_max=0).feed(data)
    assert isinstance(heard, (Failed, Ended))
    return heard


@pytest.mark.parametrize("error", WITH_FACTS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_with_its_facts(error: WaystationError) -> None:
    found = error_of(travelled(failed(7, error, [3, 4])))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_can_travel_although_nothing_is_known_but_its_name(cls: type[WaystationError]) -> None:
    found = error_of((cls.__name__, "why"))
    assert (type(found), str(found)) == (cls, "why")
    needed = set(vars(found)) - {"deliveries"}
    assert set(failed(1, found).facts) == needed, "all that a program may ask for travels"


def test_what_was_lost_travels_as_numbers() -> None:
    failure = failed(7, SettlementLost("ended"), range(3, 5))
    assert (failure.seq, failure.code, failure.lost) == (7, "SettlementLost", [3, 4])


def test_of_a_fault_of_the_peers_no_more_than_the_class_is_told() -> None:
    failure = failed(1, KeyError("/etc/secret"))
    assert failure == Failed(1, "internal", "the server failed: KeyError")
    assert type(error_of(failure)) is TransportError
    assert str(error_of(failure)) == "the server failed: KeyError"


def test_a_private_class_travels_as_the_one_it_is_a_kind_of() -> None:
    class Private(SendRejected):
        pass

    class TransportErrorOfSomebodyElse(Exception):
        pass

    TransportErrorOfSomebodyElse.__name__ = "TransportError"
    assert failed(1, Private("full")).code == "SendRejected"
    assert failed(1, TransportErrorOfSomebodyElse("x")).code == "internal"


@pytest.mark.parametrize(
    "code", ["Exception", "KeyboardInterrupt", "os.system", "", "Sequence", "annotations"]
)
def test_a_name_that_is_none_of_ours_is_a_failure_of_the_transport(code: str) -> None:
    found = error_of(Failed(1, code, "why"))
    assert (type(found), str(found)) == (TransportError, "why")
    assert str(error_of((code, ""))) == code


@pytest.mark.parametrize("text", ["", "x", "9" * 5000, "1.5", "\x00"])
def test_facts_that_are_nonsense_are_nothing(text: str) -> None:
    found = error_of(Failed(1, "MessageTooLarge", "large", {"size_bytes": text, "more": "x"}))
    assert isinstance(found, MessageTooLarge)
    assert (found.size_bytes, found.size_bytes_max) == (0, 0)


def test_a_feed_ends_with_its_error() -> None:
    end = ended(3, errors.StoreUnavailable("the disk is gone"))
    assert end == Ended(3, "StoreUnavailable", "the disk is gone")
    assert isinstance(error_of(travelled(end)), errors.StoreUnavailable)


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_can_travel(text: str) -> None:
    failure = failed(1, RequestFailed(text, reason=text))
    assert travelled(failure) == failure
    assert len(failure.text) <= REASON_CHARS_MAX


def test_a_text_is_cut_where_it_is_too_long() -> None:
    failure = failed(1, RequestFailed("x" * 100_000, reason="y" * 100_000))
    assert len(failure.text) == len(failure.facts["reason"]) == REASON_CHARS_MAX
    assert len(msgspec.msgpack.encode(failure)) < 20_000
