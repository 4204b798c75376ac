"""`StreamReader`: reads some subjects of a stream in order, from a place on, and goes on wherever it was cut off.

It has a consumer of its own at the server, which forgets it soon when nobody asks: what has been read and what is
settled is written elsewhere. So one that has gone, with its connection or with the server that kept it, is made anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence

import msgspec

from ..._core.errors import TransportError
from .answers import NO_CONSUMER, NS, ApiError, place_of
from .api import Api
from .limits import (
    AGAIN_S,
    AHEAD_BYTES_MAX,
    PULL_EXPIRES_S,
    PULL_HEARTBEAT_S,
    PULL_MESSAGES_MAX,
    REDIAL_S_MAX,
)
from .wire import Msg, read_headers, status_of

_log = logging.getLogger("waystation.nats")


class StreamReader:
    """One reader.

    Args:
        heard: Called with each message and its number in the stream.
        room: How many messages may come now.
        gone: Called when what it read from has gone, and it begins anew.

    Attributes:
        subjects: What it reads.
        last: The number of the last message that came, or before which it began.
    """

    def __init__(
        self,
        api: Api,
        stream: str,
        *,
        heard: Callable[[int, Msg], None],
        room: Callable[[], int],
        gone: Callable[[], None] = lambda: None,
        headers_only: bool = False,
    ) -> None:
        self._api, self._stream = api, stream
        self._take, self._room, self._gone = heard, room, gone
        self._headers_only = headers_only
        self.subjects: Sequence[str] = ()
        self._consumer = ""
        self._sid = 0
        self._inbox = ""
        self._asked = 0
        self._received = 0
        self._alive = 0.0
        self._loop = asyncio.get_running_loop()
        self._making: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.last = 0
        self._closed = False

    @property
    def reading(self) -> bool:
        """Whether it has a consumer."""
        return bool(self._consumer)

    @property
    def consumer(self) -> str:
        """Its consumer; nothing: it has none now."""
        return self._consumer

    async def begin(self, subjects: Sequence[str], start: int) -> None:
        """Read these subjects from a place on, instead of what was read before.

        Raises:
            TransportError: It could not be begun; that is tried again meanwhile.
        """
        await self._stop()
        self.subjects, self.last = subjects, start - 1
        if not subjects or self._closed:
            return
        try:
            await self._make()
        except TransportError:
            self._again()
            raise

    async def close(self) -> None:
        """Read no more. May be called twice."""
        self._closed = True
        await self._stop()

    def pull(self) -> None:
        """Ask for what there is room for."""
        if not self._consumer or self._asked > PULL_MESSAGES_MAX // 2:
            return
        count = min(self._room() - self._asked, PULL_MESSAGES_MAX)
        if count <= 0:
            return
        self._asked += count
        bytes_max = max(AHEAD_BYTES_MAX, int(self._api.link.info.get("max_payload", 0)) + 4096)
        request = {
            "batch": count,
            "max_bytes": bytes_max,
            "expires": round(PULL_EXPIRES_S * NS),
            "idle_heartbeat": round(PULL_HEARTBEAT_S * NS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        self._api.link.pull(subject, msgspec.json.encode(request), self._inbox)

    async def unread(self) -> int:
        """Return how many messages there are that have not come yet.

        Raises:
            TransportError: That is unknown.
        """
        if not self._consumer:
            return 0
        try:
            info = await self._api.call(f"CONSUMER.INFO.{self._stream}.{self._consumer}")
        except ApiError as error:
            if error.number != NO_CONSUMER:
                raise
            self._again()
            raise
        on_the_way = int(info["delivered"]["consumer_seq"]) - self._received
        return int(info["num_pending"]) + max(0, on_the_way)

    # --- the consumer --------------------------------------------------------------------------------------------

    async def _make(self) -> None:
        info = await self._api.make_consumer(
            self._stream, self.subjects, self.last + 1, headers_only=self._headers_only
        )
        if self._closed:
            return
        self._consumer, self._received, self._asked = info["name"], 0, 0
        self._inbox = f"_INBOX.{secrets.token_urlsafe(12)}"
        self._sid = self._api.link.subscribe(self._inbox, self._heard)
        self._alive = self._loop.time()
        self._watch = self._loop.call_later(2.5 * PULL_HEARTBEAT_S, self._look)
        self.pull()

    async def _stop(self) -> None:
        making, self._making = self._making, None
        if making is not None:
            making.cancel()
            await asyncio.wait([making])
        consumer = self._consumer
        self._let_go()
        if consumer and self._api.link.connected:
            await self._api.drop_consumer(self._stream, consumer)

    def _let_go(self) -> None:
        self._consumer, self._asked = "", 0
        self._api.link.unsubscribe(self._sid)
        if self._watch is not None:
            self._watch.cancel()

    def _again(self) -> None:
        """What was read from has gone: make another consumer that goes on from there."""
        if self._making is None and not self._closed:
            self._let_go()
            self._making = self._loop.create_task(self._remake())
            self._gone()

    async def _remake(self) -> None:
        delay_s = AGAIN_S
        while not self._consumer:
            try:
                await self._make()
            except (TransportError, OSError) as error:
                _log.debug("%s: no consumer yet: %s", self._stream, error)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, REDIAL_S_MAX)
        self._making = None

    def cut(self) -> None:
        """The connection has gone, and with it what was asked for."""
        if self._consumer:
            self._again()

    def _look(self) -> None:
        if self._asked and self._loop.time() - self._alive > 2 * PULL_HEARTBEAT_S:
            self._again()
            return
        self._watch = self._loop.call_later(PULL_HEARTBEAT_S, self._look)

    def _heard(self, msg: Msg) -> None:
        if msg.reply.startswith(b"$JS.ACK."):
            sequence, number, _ = place_of(msg.reply)
            if number != self._received + 1:
                self._again()  # something has been lost on the way
                return
            self._received, self.last = number, sequence
            self._alive = self._loop.time()  # a server that is busy sends no heartbeats
            self._asked -= 1
            self._take(sequence, msg)
            if self._asked <= PULL_MESSAGES_MAX // 2:
                self.pull()
            return
        status = status_of(msg.header)
        self._alive = self._loop.time()
        if status == 100:
            return
        headers = read_headers(msg.header)
        self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", "0") or 0))
        first = msg.header.split(b"\r\n", 1)[0].lower()
        if status == 503 or (status == 409 and b"exceed" not in first and b"completed" not in first):
            self._again()
        else:
            self.pull()
