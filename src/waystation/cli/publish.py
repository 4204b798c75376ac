"""`waystation publish` and `waystation send`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import typer

from waystation import Bus, ConfigurationError, Durability, Receipt, Topic, WaystationError
from waystation._core.inspection import GroupInfo
from waystation._core.limits import UNREAD_RETENTION_S
from waystation._core.topic import check_name
from waystation._core.url import did_you_mean

from .hints import about_unhandled, about_unread
from .output import note, print_json, say
from .parameters import AsJson, Headers, Key, headers_of, positional, seconds_of
from .target import Target, bus_at

#: How long an event is kept that nobody reads.
_KEPT = f"{UNREAD_RETENTION_S / 86400:.0f} days"


Sending: TypeAlias = Callable[..., Awaitable[tuple[Receipt, str | None]]]
"""Takes a connected bus, a topic, a body and options; gives a receipt, and a remark if nobody will get it soon."""


def _argument(name: str, about: str) -> Any:
    return typer.Argument(metavar=name, help=about, show_default=False)


def _option(name: str, about: str, *flags: str) -> Any:
    return typer.Option(*flags, metavar=name, help=about, show_default=False)


Name = Annotated[str | None, _argument("TOPIC", "Such as orders.placed.")]
Body = Annotated[str | None, _argument("[BODY]", "JSON, sent as it is; '-' reads stdin.")]
TextBody = Annotated[str | None, _option("TEXT", "A body of plain text, in place of BODY.", "--text")]
BytesFile = Annotated[Path | None, _option("FILE", "A body of bytes, in place of BODY.", "--bytes-file")]
Delay = Annotated[str | None, _option("TIME", "Deliver after 1.5s, 2m, 1h, 3d.")]
Expires = Annotated[str | None, _option("TIME", "No handler starts on it after this long.")]
Priority = Annotated[int | None, _option("N", "Higher first, from 0 (normal) to 9.")]
DedupeKey = Annotated[str | None, _option("KEY", "Store it once, however often it is sent.")]
MessageId = Annotated[str | None, _option("ID", "Its id; a new one unless given.", "--id")]
Require = Annotated[str | None, _option("LEVEL", "Fail unless it is as durable: written, flushed, …")]


def command(sending: Sending, about: str) -> Callable[..., None]:
    """Return a command that sends one message. They differ in who gets it, and in nothing else.

    Args:
        about: Its help.
    """

    def run(
        target: Target = None,
        topic: Name = None,
        body: Body = None,
        *,
        text: TextBody = None,
        bytes_file: BytesFile = None,
        key: Key = None,
        header: Headers = None,
        delay: Delay = None,
        expires: Expires = None,
        priority: Priority = None,
        dedupe_key: DedupeKey = None,
        message_id: MessageId = None,
        require: Require = None,
        as_json: AsJson = False,
    ) -> None:
        if text is None and bytes_file is None:
            where, name, body = positional(["TOPIC", "BODY"], target, topic, body)
        else:
            where, name = positional(["TOPIC"], target, topic, body)
        body_type, value = _body(body, text, bytes_file)
        sent = _connected(
            bus_at(where),
            sending,
            Topic(check_name(name), body_type),
            value,
            key=key,
            headers=headers_of(header),
            delay=None if delay is None else seconds_of(delay, "--delay"),
            expires=None if expires is None else seconds_of(expires, "--expires"),
            priority=priority,
            dedupe_key=dedupe_key,
            message_id=message_id,
            require=durability_of(require),
        )
        receipt, remark = asyncio.run(sent)
        _show(receipt, as_json=as_json)
        if remark is not None:
            note(remark)

    run.__doc__ = about
    return run


def json_body(text: str) -> msgspec.Raw:
    """Return JSON text, from stdin if it is `-`, as a body that is sent as it is.

    Raises:
        ConfigurationError: It is not JSON.
    """
    body = sys.stdin.buffer.read() if text == "-" else text.encode()
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f'BODY is not JSON ({error}): quote it as \'{{"order_id": "A-1"}}\', or use --text or --bytes-file'
        ) from error
    return msgspec.Raw(body.strip())


def durability_of(level: str | None) -> Durability | None:
    """Return a level by its name.

    Raises:
        ConfigurationError: There is none of this name.
    """
    if level is None:
        return None
    names = [known.name for known in Durability]
    if level.upper() not in names:
        raise ConfigurationError(
            f"--require {level!r}{did_you_mean(level.upper(), names)}: one of {', '.join(names)}"
        )
    return Durability[level.upper()]


def _body(json: str | None, text: str | None, file: Path | None) -> tuple[type[Any], Any]:
    if sum(source is not None for source in (json, text, file)) != 1:
        raise ConfigurationError("give one of BODY, --text and --bytes-file")
    if text is not None:
        return str, text
    if file is not None:
        return bytes, file.read_bytes()
    assert json is not None
    return msgspec.Raw, json_body(json)


async def _connected(bus: Bus, sending: Sending, *message: Any, **options: Any) -> tuple[Receipt, str | None]:
    async with bus:
        return await sending(bus, *message, **options)


async def _publish(bus: Bus, topic: Topic[Any], body: Any, **options: Any) -> tuple[Receipt, str | None]:
    receipt = await bus.publish(topic, body, **options)
    if options["delay"] is not None:
        return receipt, None  # its topic may be new when it is due, and readers find it then
    groups = await _groups(bus, topic)  # now, and not before: a pattern may fit a topic that is new
    return receipt, None if groups is None else about_unread(topic.name, groups, kept=_KEPT)


async def _send(bus: Bus, topic: Topic[Any], body: Any, **options: Any) -> tuple[Receipt, str | None]:
    groups = await _groups(bus, topic)  # before it makes the topic's group
    receipt = await bus.send(topic, body, **options)
    return receipt, None if groups is None else about_unhandled(topic.name, groups)


async def _groups(bus: Bus, topic: Topic[Any]) -> Sequence[GroupInfo] | None:
    """Return who reads what; None where that cannot be known, or where nothing is kept for those who come later."""
    capabilities = bus.capabilities_of(topic)
    if not (capabilities.inspectable and capabilities.persistent):
        return None
    try:
        return await bus.inspector(topic).groups()
    except WaystationError:  # for the sake of a remark, nothing that was sent is called a failure
        return None


def _show(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        row = {"message_id": receipt.message_id, "durability": receipt.durability.name}
        print_json(row | {"duplicate": receipt.duplicate})
    else:
        level = "duplicate: not stored again" if receipt.duplicate else receipt.durability.name
        say(f"{receipt.message_id} {level}")


publish = command(
    _publish,
    """Publish one event, for every group that reads its topic, and print its id and how durable it is.

    Example: `waystation publish sqlite:///shop.db orders.placed '{"order_id": "A-1"}' --key A-1`
    """,
)

send = command(
    _send,
    """Send one command, kept until the handler of its topic takes it, and print its id and how durable it is.

    Example: `waystation send sqlite:///shop.db orders.ship '{"order_id": "A-1"}' --key A-1`
    """,
)
