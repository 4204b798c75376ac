"""`Api`: what can be asked of JetStream, and of the bucket, in calls."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..._core.errors import ConfigurationError, Disconnected
from .answers import (
    NO_MESSAGE,
    NO_MESSAGE_TO_DELETE,
    NO_STREAM,
    NS,
    STREAM_EXISTS,
    WRONG_LAST,
    ApiError,
    Confirmed,
    Pulled,
    Stored,
    Written,
    kept,
    place_of,
    stored,
)
from .layout import Layout
from .limits import API_TIMEOUT_S, CONSUMER_IDLE_S, DUPLICATES_S, SCAN_MESSAGES_MAX
from .link import Frame, Link
from .options import Options
from .wire import read_headers, status_of

_encode = msgspec.json.encode


class Api:
    """Questions to JetStream.

    Args:
        options: What the URL says.
    """

    def __init__(self, link: Link, layout: Layout, options: Options) -> None:
        self.link = link
        self.layout = layout
        self._options = options

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Ask; again while no leader has been elected.

        Raises:
            ApiError: It was refused.
            ConfigurationError: The server has no JetStream.
            Disconnected: There was no answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + API_TIMEOUT_S
        while True:
            msg = await self.link.ask(f"$JS.API.{method}", _encode(arguments) if arguments else b"")
            if status_of(msg.header) == 503:
                raise ConfigurationError(
                    f"{self.link.place} has no JetStream for this user: start nats-server with --jetstream, and let "
                    "the account use it"
                )
            answer: dict[str, Any] = msgspec.json.decode(msg.body)
            error = answer.get("error")
            if error is None:
                return answer
            if error.get("code") == 503 and loop.time() < deadline:
                await asyncio.sleep(0.1)
                continue
            said = error.get("description", "no reason")
            raise ApiError(f"{self.link.place}: {said}", number=int(error.get("err_code", 0)))

    # --- streams -------------------------------------------------------------------------------------------------

    async def make_stream(self, name: str, subjects: Sequence[str], **settings: Any) -> None:
        """Make a stream exist. What it is like stays as it was, unless it keeps less than the URL promises.

        Raises:
            ConfigurationError: It is there, in memory or with fewer replicas.
            ApiError: The server refuses to make it.
        """
        try:
            await self.call(
                f"STREAM.CREATE.{name}",
                name=name,
                subjects=subjects,
                storage="file",
                retention="limits",
                num_replicas=self._options.replicas,
                allow_direct=True,
                duplicate_window=round(DUPLICATES_S * NS),
                **settings,
            )
        except ApiError as error:
            if error.number != STREAM_EXISTS:
                raise
            await self._check_stream(name)

    async def _check_stream(self, name: str) -> None:
        """Refuse a stream that somebody has made otherwise, if it keeps less than the URL promises."""
        info = await self.stream_info(name)
        there = {} if info is None else info["config"]
        wanted = self._options.replicas
        if there.get("storage", "file") != "file":
            raise ConfigurationError(
                f"the stream {name!r} at {self.link.place} is in memory: make it one of files"
            )
        if int(there.get("num_replicas", wanted)) < wanted:
            raise ConfigurationError(
                f"the stream {name!r} at {self.link.place} has {there['num_replicas']} replicas and the URL says "
                f"replicas={wanted}: type nats stream edit {name} --replicas {wanted}, or change the URL"
            )

    async def streams(self, subject: str) -> list[str]:
        """Return the names of streams that have such subjects."""
        names: list[str] = []
        while True:
            answer = await self.call("STREAM.NAMES", subject=subject, offset=len(names))
            found = answer.get("streams") or []
            names += found
            if not found or len(names) >= answer.get("total", 0):
                return names

    async def stream_info(self, name: str, subjects: str = "") -> dict[str, Any] | None:
        """Return what a stream is like, with how many messages of the subjects there are; None: it is not there."""
        arguments = {"subjects_filter": subjects} if subjects else {}
        try:
            return await self.call(f"STREAM.INFO.{name}", **arguments)
        except ApiError as error:
            if error.number == NO_STREAM:
                return None
            raise

    async def purge(self, stream: str, **arguments: Any) -> int:
        """Delete messages; return how many there were."""
        try:
            answer = await self.call(f"STREAM.PURGE.{stream}", **arguments)
        except ApiError as error:
            if error.number == NO_STREAM:
                return 0
            raise
        return int(answer.get("purged", 0))

    async def delete_message(self, stream: str, sequence: int) -> bool:
        """Delete one message; False: it was not there."""
        try:
            await self.call(f"STREAM.MSG.DELETE.{stream}", seq=sequence, no_erase=True)
        except ApiError as error:
            if error.number in (NO_MESSAGE_TO_DELETE, NO_MESSAGE, NO_STREAM) or "no message" in str(error):
                return False
            raise
        return True

    async def get(self, stream: str, sequence: int) -> Stored | None:
        """Return a message of a stream; None: it is not there, as the leader says: another server may be behind."""
        found = await self._direct(stream, seq=sequence)
        return found[0] if found else await self._lead(stream, seq=sequence)

    async def since(self, stream: str, moment_ns: int) -> Stored | None:
        """Return the first message that was stored after a time of the server's clock."""
        second, part = divmod(moment_ns + 1, NS)
        start = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        found = await self._direct(stream, start_time=f"{start}.{part:09d}Z", batch=1)
        return found[0] if found else None

    async def follows(self, stream: str, subject: str, sequence: int) -> int:
        """Return the number of the first message of a subject from a place on, as the leader has it; 0: none."""
        found = await self._lead(stream, seq=max(1, sequence), next_by_subj=subject)
        return 0 if found is None else found.sequence

    async def get_all(self, stream: str, sequences: Sequence[int]) -> list[Stored]:
        """Return those of these messages that are there."""
        found: list[Stored] = []
        for start in range(0, len(sequences), SCAN_MESSAGES_MAX):
            some = sequences[start : start + SCAN_MESSAGES_MAX]
            each = await asyncio.gather(*(self.get(stream, sequence) for sequence in some))
            found += [stored for stored in each if stored is not None]
        return found

    async def next(self, stream: str, subject: str, sequence: int) -> tuple[Stored | None, int]:
        """Return the first message of a subject from a place on, and how many there are from there."""
        found = await self._direct(stream, seq=max(1, sequence), next_by_subj=subject, batch=1)
        return (found[0], found[0].pending + 1) if found else (None, 0)

    async def last_of(self, stream: str, subjects: Sequence[str]) -> list[Stored]:
        """Return the last message of each subject."""
        return await self._direct(stream, multi_last=subjects)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """Return the last message of a subject, as the stream's leader has it; None: there is none."""
        return await self._lead(stream, last_by_subj=subject)

    async def _lead(self, stream: str, **arguments: Any) -> Stored | None:
        try:
            answer = await self.call(f"STREAM.MSG.GET.{stream}", **arguments)
        except ApiError as error:
            if error.number in (NO_MESSAGE, NO_STREAM):
                return None
            raise
        found = answer["message"]
        head = base64.b64decode(found.get("hdrs", ""))
        return Stored(
            found["subject"], found["seq"], read_headers(head), base64.b64decode(found.get("data", ""))
        )

    async def _direct(self, stream: str, **arguments: Any) -> list[Stored]:
        subject, body = f"$JS.API.DIRECT.GET.{stream}", _encode(arguments)
        if "batch" in arguments or "multi_last" in arguments:
            answers = await self.link.ask_many(subject, body)
        else:
            answers = [await self.link.ask(subject, body)]
        found = []
        for msg in answers:
            status = status_of(msg.header)
            if not status:
                found.append(stored(msg))
            elif status == 503:
                raise Disconnected(f"{self.link.place}: no server answers for the stream {stream!r} now")
            elif status in (400, 413):
                raise ApiError(f"{self.link.place}: {msg.header.decode(errors='replace').strip()}", number=0)
        return found

    # --- consumers -----------------------------------------------------------------------------------------------

    async def make_consumer(
        self, stream: str, subjects: Sequence[str], start: int, *, headers_only: bool = False
    ) -> dict[str, Any]:
        """Make a consumer for this connection, which reads a stream from a place on; return what it is like."""
        name = f"r{secrets.token_hex(8)}"
        return await self.call(
            f"CONSUMER.CREATE.{stream}.{name}",
            stream_name=stream,
            action="create",
            config={
                "name": name,
                "ack_policy": "none",
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": max(1, start),
                "filter_subjects": subjects,
                "mem_storage": True,
                "num_replicas": 1,
                "headers_only": headers_only,
                "inactive_threshold": round(CONSUMER_IDLE_S * NS),
            },
        )

    async def drop_consumer(self, stream: str, name: str) -> None:
        """Delete a consumer, if it is there and somebody hears it."""
        try:
            await self.call(f"CONSUMER.DELETE.{stream}.{name}")
        except (ApiError, Disconnected):
            pass  # the server forgets it by itself

    async def scan(
        self, stream: str, subjects: Sequence[str], start: int, *, limit: int, headers_only: bool = False
    ) -> list[Stored]:
        """Return at most so many messages of some subjects from a place on, in order."""
        try:
            info = await self.make_consumer(stream, subjects, start, headers_only=headers_only)
        except ApiError as error:
            if error.number == NO_STREAM:
                return []
            raise
        found: list[Stored] = []
        wanted = min(limit, info.get("num_pending", 0))
        try:
            while len(found) < wanted:
                request = {"batch": min(SCAN_MESSAGES_MAX, wanted - len(found)), "no_wait": True}
                found += await self._pull(stream, info["name"], request)
        finally:
            await self.drop_consumer(stream, info["name"])
        return found

    async def _pull(self, stream: str, consumer: str, request: dict[str, Any]) -> list[Stored]:
        pulled = Pulled(asyncio.get_running_loop().create_future(), request["batch"])
        sid = self.link.subscribe(inbox := f"_INBOX.{secrets.token_urlsafe(12)}", pulled.heard)
        try:
            self.link.pull(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", _encode(request), inbox)
            async with asyncio.timeout(API_TIMEOUT_S):
                messages = await pulled.future
        except TimeoutError:
            raise Disconnected(f"{self.link.place} has not answered") from None
        finally:
            self.link.unsubscribe(sid)
        return [
            Stored(msg.subject.decode(), place_of(msg.reply)[0], read_headers(msg.header), msg.body)
            for msg in messages
        ]

    # --- writing -------------------------------------------------------------------------------------------------

    async def write(self, frames: Sequence[Frame], timeout_s: float = API_TIMEOUT_S) -> list[Confirmed]:
        """Send messages to their streams and return the answers, in order.

        Raises:
            Disconnected: It is unknown what became of some.
        """
        if not frames:
            return []
        await self.link.ready(API_TIMEOUT_S)
        written = Written(len(frames))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.done = lambda: None if future.done() else future.set_result(None)
        number = self.link.begin(frames, written)
        if number is None:
            raise Disconnected(f"{self.link.place} is not connected")
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise Disconnected(f"{self.link.place} has not answered") from None
        finally:
            self.link.forget(number)
        if written.error is not None:
            raise written.error
        return [confirmed or Confirmed() for confirmed in written.answers]

    # --- the bucket ----------------------------------------------------------------------------------------------

    async def put(self, key: str, value: object, *, revision: int | None = None) -> int | None:
        """Write a key; with a revision only if that is the one it has: 0, if there must be none.

        Returns:
            Its new revision; None: it has another one.
        """
        (confirmed,) = await self.write([kept(key, value, revision)])
        if confirmed.error is None:
            return confirmed.seq
        if confirmed.error.err_code == WRONG_LAST:
            return None
        raise ApiError(f"{self.link.place}: {confirmed.error.description}", number=confirmed.error.err_code)

    async def read(self, key: str) -> Stored | None:
        """Return a key's value with its revision, as the leader has it; None: there is none."""
        return await self.last(self.layout.bucket, key)

    async def keys(self, *keys: str) -> list[Stored]:
        """Return the values of all keys that fit."""
        return await self.last_of(self.layout.bucket, keys)

    async def forget(self, keys: str) -> int:
        """Delete all keys that fit; return how many there were."""
        return await self.purge(self.layout.bucket, filter=keys)
