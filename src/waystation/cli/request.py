"""`waystation request`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import msgspec
import typer

from waystation import Bus, Endpoint
from waystation._core.limits import REQUEST_TIMEOUT_S

from .parameters import Headers, Key, headers_of, positional, seconds_of
from .publish import json_body
from .target import Target, bus_at


def request(
    target: Target = None,
    endpoint: Annotated[
        str | None, typer.Argument(metavar="ENDPOINT", help="Such as prices.quote.", show_default=False)
    ] = None,
    body: Annotated[
        str | None,
        typer.Argument(metavar="BODY", help="JSON, sent as it is; '-' reads stdin.", show_default=False),
    ] = None,
    *,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="How long to wait: 200ms, 1.5s, 2m.")] = (
        f"{REQUEST_TIMEOUT_S:g}s"
    ),
    key: Key = None,
    header: Headers = None,
) -> None:
    """Ask, wait for the answer, and print it. Exits with 4 if there is none in time, with 5 if it is an error.

    Example: `waystation request sqlite:///shop.db prices.quote '{"sku": "tea"}' --timeout 2s`
    """
    where, name, text = positional(["ENDPOINT", "BODY"], target, endpoint, body)
    asked: Endpoint[Any, bytes] = Endpoint(name, msgspec.Raw, bytes)
    timeout_s = seconds_of(timeout, "--timeout")
    _print_reply(
        asyncio.run(_request(bus_at(where), asked, json_body(text), timeout_s, headers_of(header), key))
    )


async def _request(
    bus: Bus,
    endpoint: Endpoint[Any, bytes],
    body: msgspec.Raw,
    timeout_s: float,
    headers: dict[str, str] | None,
    key: str | None,
) -> bytes:
    async with bus:
        return await bus.request(endpoint, body, timeout=timeout_s, headers=headers, key=key)


def _print_reply(body: bytes) -> None:
    """Print JSON indented, and anything else byte for byte."""
    try:
        body = msgspec.json.format(body, indent=2)
    except msgspec.DecodeError:
        pass
    sys.stdout.buffer.write(body.rstrip(b"\n") + b"\n")
