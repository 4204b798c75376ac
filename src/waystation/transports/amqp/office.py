"""Asking the clerk, wherever it is: questions go into its queue, answers come to one of this process."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from typing import Any, Literal

import msgspec

from ..._core.errors import Disconnected
from . import binding
from .channel import Arrival, Channel
from .clerk import ASK, Answer, Question
from .connection import Connection
from .limits import LOCK_S
from .link import Link
from .names import Names
from .sender import Parcel, Sender, to_queue
from .tables import write_properties


class Office:
    """Where this process asks."""

    def __init__(self, names: Names, link: Link, sender: Sender) -> None:
        self._names, self._link, self._sender = names, link, sender
        self._queue = names.reply(f"_answers.{secrets.token_urlsafe(9)}")
        self._channel: Channel | None = None
        self._on: Connection | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._opening = asyncio.Lock()
        self._decoder = msgspec.json.Decoder(Answer)

    async def ask(self, what: Literal["list", "cancel", "move", "count"], **details: Any) -> Answer:
        """Ask, and wait for the answer.

        Raises:
            TransportError: There is no connection, or no answer in time.
        """
        async with self._opening:
            await self._listen()
        question = Question(what, self._queue, next(self._numbers), **details)
        properties = write_properties(
            {binding.NOTE: ASK}, content_type="application/json", message_id="", persistent=False
        )
        parcel = Parcel("", to_queue(self._names.later), properties, msgspec.json.encode(question))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[question.number] = future
        try:
            async with asyncio.timeout(LOCK_S):
                await self._sender.sent([parcel])
                return await future
        except TimeoutError as error:
            raise Disconnected(f"nobody has answered for {self._names.later} within {LOCK_S:g} s") from error
        finally:
            del self._waiting[question.number]

    async def _listen(self) -> None:
        connection = self._link.connection
        if connection is None:
            raise Disconnected(f"there is no connection to {self._link.options.shown} at present")
        if self._on is connection and self._channel is not None and self._channel.ended is None:
            return
        channel = await connection.channel()
        try:
            await channel.ask(connection.commands.Queue.Declare(0, self._queue, False, False, True, True))
            await channel.consume(self._queue, self._came, no_ack=True)
        except BaseException:
            channel.hang_up()
            raise
        self._channel, self._on = channel, connection

    def _came(self, arrival: Arrival) -> None:
        try:
            answer = self._decoder.decode(arrival.body)
        except msgspec.MsgspecError:
            return
        future = self._waiting.get(answer.number)
        if future is not None and not future.done():
            future.set_result(answer)
