"""Messages that recur: what `repeat` declares, and the task that publishes one at its times.

The transport keeps when each is due next and moves that on in the step that publishes, so whoever is there at the time
publishes, and of several one does. Nothing waits unsettled anywhere, and nobody is elected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from .._core.duration import Duration, rfc3339, seconds
from .._core.errors import ConfigurationError
from .._core.limits import RECONNECT_DELAY_S_MAX, RECONNECT_FIRST_DELAY_S, RECURRING_LOOK_S
from .._core.message import Message, check_headers, check_key
from .._core.ports import Recurrence, Recurring, Transport
from .._core.recurrence import MISSED, Missed, Rule, due_now, rule_of
from .._core.topic import Topic, check_name
from .context import Runtime

_log = logging.getLogger("waystation.repeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatSpec:
    """A message that recurs. A value; nothing runs yet.

    Attributes:
        body: It, or a function from its time to it.
        expires_s: How long after it was published a handler may start on it; None: always.
    """

    name: str
    topic: Topic[Any] | str
    body: object
    rule: Rule
    missed: Missed
    key: str | None
    headers: Mapping[str, str] | None
    expires_s: float | None

    @property
    def topic_name(self) -> str:
        """Where it goes."""
        return self.topic if isinstance(self.topic, str) else self.topic.name


def declare_repeat(
    topic: Topic[Any] | str,
    body: object,
    *,
    cron: str | None,
    every: Duration | None,
    tz: str | None,
    name: str | None,
    missed: Missed,
    key: str | None,
    headers: Mapping[str, str] | None,
    expires: Duration | None,
) -> RepeatSpec:
    """Check what was declared.

    Raises:
        ConfigurationError: A name, a rule or an option is not legal.
    """
    if not isinstance(topic, Topic | str):
        raise ConfigurationError(f"{topic!r} is not a Topic or a topic's name")
    topic_name = check_name(topic if isinstance(topic, str) else topic.name)
    if missed not in MISSED:
        raise ConfigurationError(f"missed={missed!r} must be one of {', '.join(map(repr, MISSED))}")
    if key is not None:
        check_key(key)
    check_headers(dict(headers or {}))
    return RepeatSpec(
        name=topic_name if name is None else check_name(name, "recurring message's"),
        topic=topic,
        body=body,
        rule=rule_of(cron=cron, every=every, tz=tz),
        missed=missed,
        key=key,
        headers=headers,
        expires_s=None if expires is None else seconds(expires, name="expires"),
    )


class Repeater:
    """Publishes one recurring message for as long as it runs. For one event loop."""

    def __init__(self, spec: RepeatSpec, transport: Transport, runtime: Runtime) -> None:
        assert isinstance(transport, Recurring), "a transport that is recurring is Recurring"
        self._spec, self._transport = spec, transport
        self._clock, self._publisher = runtime.clock, runtime.publisher
        self._recurrence: Final = Recurrence(spec.name, spec.topic_name, spec.rule.text)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Put it down, unless some process has, and begin to publish.

        Raises:
            MessageError: Its body is not what its topic carries.
            WaystationError: The transport could not put it down.
        """
        now = self._clock.time()
        if not callable(self._spec.body):
            self._message(now)  # refused now rather than at its first time
        due = await self._transport.recur(self._recurrence, None, self._spec.rule.first(now), ())
        # In a context of its own: it follows from no message, and belongs to no transaction.
        self._task = asyncio.get_running_loop().create_task(
            self._run(due), name=f"repeat {self._spec.name}", context=Context()
        )

    async def stop(self) -> None:
        """Publish no more. May be called twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, due: float | None) -> None:
        pause_s = RECONNECT_FIRST_DELAY_S
        while due is not None:
            while (wait_s := due - self._clock.time()) > 0:
                await self._clock.sleep(min(wait_s, RECURRING_LOOK_S))
            try:
                due = await self._publish(due)
                pause_s = RECONNECT_FIRST_DELAY_S
            except Exception:  # noqa: BLE001 - the transport's, or of the user's function
                if pause_s == RECONNECT_FIRST_DELAY_S:
                    _log.exception(
                        "recurring message %r: publishing failed, tried until it succeeds", self._spec.name
                    )
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, RECONNECT_DELAY_S_MAX)
        _log.warning(
            "recurring message %r was removed, or declared otherwise elsewhere: this process publishes it no more",
            self._spec.name,
        )

    async def _publish(self, due: float) -> float | None:
        """Publish what is due, unless somebody has; return when the next is."""
        times, next_due = due_now(self._spec.rule, due, self._clock.time(), self._spec.missed)
        messages = [self._message(time) for time in times]
        return await self._transport.recur(self._recurrence, due, next_due, messages)

    def _message(self, time: float) -> Message:
        """Make the message of a time. Its id is the same whoever makes it, so that an inbox knows it too."""
        spec = self._spec
        body = spec.body
        if callable(body):
            body = body(datetime.fromtimestamp(time, spec.rule.zone))
        message = self._publisher.message(
            spec.topic, body, key=spec.key, headers=spec.headers, expires=spec.expires_s,
            message_id=f"{spec.name}@{rfc3339(time)}",
        )  # fmt: skip
        return replace(message, deliver_at=time)
