"""The driver, and what its errors mean in our words."""

from __future__ import annotations

from typing import Any

from ..._core.errors import (
    ConfigurationError,
    Disconnected,
    Refused,
    SendRejected,
    SendUnconfirmed,
    TransportError,
)
from ..._core.extras import import_driver

#: What the broker, or the driver before it asks the broker, has refused for good: nothing is stored.
_REJECTED = frozenset((
    "MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED",
    "UNKNOWN_TOPIC_OR_PART", "INVALID_RECORD", "INVALID_TIMESTAMP", "INVALID_REQUIRED_ACKS", "TOPIC_EXCEPTION",
    "POLICY_VIOLATION", "UNSUPPORTED_FOR_MESSAGE_FORMAT", "NOT_ENOUGH_REPLICAS", "_UNKNOWN_TOPIC",
    "_UNKNOWN_PARTITION", "_PURGE_QUEUE", "_QUEUE_FULL", "_INVALID_ARG", "_TIMED_OUT_QUEUE",
))  # fmt: skip

_HINTS = {
    "MSG_SIZE_TOO_LARGE": "raise the topic's max.message.bytes, or send a reference",
    "TOPIC_AUTHORIZATION_FAILED": "the user has no permission for this topic: grant it WRITE, READ and CREATE",
    "GROUP_AUTHORIZATION_FAILED": "the user has no permission for this group: grant it READ",
    "CLUSTER_AUTHORIZATION_FAILED": "the user may not make topics: make them beforehand, or grant CREATE",
    "NOT_ENOUGH_REPLICAS": "fewer brokers are in sync than the topic's min.insync.replicas",
    "INVALID_REPLICATION_FACTOR": "the cluster has not so many brokers: lower replication=",
}

#: A client is not let in; asking again does not help.
_REFUSED = frozenset((
    "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE",
))  # fmt: skip

#: What the driver adds to a certificate that it does not accept, in words of its own settings.
_DRIVERS_ADVICE = ": broker certificate could not be verified"


def load() -> Any:
    """Return the driver.

    Raises:
        MissingExtra: It is not installed.
    """
    return import_driver("confluent_kafka", extra="kafka")


def load_admin() -> Any:
    """Return the driver's part for administration."""
    return import_driver("confluent_kafka.admin", extra="kafka")


def name_of(error: Any) -> str:
    """Return the name of an error of the driver's: `_TRANSPORT`, `ILLEGAL_GENERATION`."""
    return str(error.name())


def kafka_error(error: BaseException) -> Any:
    """Return the driver's error that an exception of the driver's brings, or None."""
    first = error.args[0] if error.args else None
    return first if hasattr(first, "code") and hasattr(first, "name") else None


def sentence(error: Any) -> str:
    """Return what a driver's error says, and what to do about it if that is known."""
    name = name_of(error)
    text = str(error.str()).removeprefix("Broker: ").removeprefix("Local: ").partition(_DRIVERS_ADVICE)[0]
    hint = _HINTS.get(name)
    if name == "_SSL" and is_refusal(error):
        hint = "give the authority that signed the broker's certificate (tls_ca=FILE), and the address that is in it"
    return f"{text} ({name})" + (f": {hint}" if hint else "")


def is_refusal(error: Any) -> bool:
    """Say whether a client is not let in, by the driver's error. A connection that was cut while TLS began may be."""
    name = name_of(error)
    return name in _REFUSED or (name == "_SSL" and "certificate" in str(error.str()))


def send_failure(error: Any, message_id: str) -> TransportError:
    """Return what became of a message that was not confirmed. Unless that is certain, it may be stored."""
    if name_of(error) in _REJECTED:
        return SendRejected(f"Kafka does not take it: {sentence(error)}")
    return SendUnconfirmed(f"Kafka has not confirmed it: {sentence(error)}", message_id=message_id)


def translate(error: BaseException, what: str, place: str) -> TransportError | ConfigurationError:
    """Return a failed question as an error of ours.

    Args:
        what: What was asked, as a noun: "the list of topics".
        place: The brokers, for people.
    """
    found = kafka_error(error)
    if found is None:
        return TransportError(f"{what}: {type(error).__name__}: {error}")
    name = name_of(found)
    if is_refusal(found):
        return Refused(f"kafka://{place} does not let this program in: {sentence(found)}")
    if name.endswith("AUTHORIZATION_FAILED"):
        return Refused(f"{what}: {sentence(found)}")
    if name in ("_TRANSPORT", "_SSL", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE", "BROKER_NOT_AVAILABLE"):
        return Disconnected(f"kafka://{place} does not answer ({what}): {sentence(found)}")
    if name in (
        "INVALID_REPLICATION_FACTOR",
        "POLICY_VIOLATION",
        "INVALID_CONFIG",
        "INVALID_PARTITIONS",
        "TOPIC_EXCEPTION",
    ):
        return ConfigurationError(f"{what}: {sentence(found)}")
    return TransportError(f"{what}: {sentence(found)}")


class Told(Exception):
    """An error of the driver's that was told, not raised."""
