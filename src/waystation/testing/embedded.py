"""A bus of the program under test, on a medium and under a clock of the test's choice."""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Self

from waystation import Bus

from .._core.inspection import GroupInfo
from .._core.ports import Clock, Transport
from .._core.topic import matches

#: What a bus has that depends on where it is, and not on what was declared.
_PLACE = ("_clock", "_random", "_routes", "_transports")

#: Turns of the event loop between two looks at a medium in memory.
_TURNS_COUNT = 30

#: Time between two looks at a medium that works in threads, in real seconds.
_LOOK_S = 0.002

#: How long settling may take, in real seconds.
_PATIENCE_S = 20.0


class EmbeddedBus(Bus):
    """A bus whose medium and time are the test's."""

    # Beside the attributes of the bus, which several faces share.
    __slots__ = ("_waits_for_retries",)

    @classmethod
    def over(cls, transport: Transport, *, clock: Clock, jitter: float = 0.0) -> Self:
        """Make a bus on a transport that is not open yet.

        Args:
            jitter: What every throw of its dice shows, from 0 up to 1.
        """
        bus = cls("memory://", clock=clock, random=lambda: jitter)
        bus._transports = [transport]
        return bus

    @classmethod
    def of(cls, bus: Bus) -> Self:
        """Return another face of a bus: what is done to one is done to both."""
        face = cls.__new__(cls)
        face.__dict__ = bus.__dict__
        return face

    @property
    def transport(self) -> Transport:
        """The bus's one transport, not open unless the bus is."""
        return self._only

    @property
    def waiting_requests(self) -> int:
        """Requests and streams, asked or answered, that are not over."""
        return self._connected.requests.in_flight

    @property
    def late_replies(self) -> int:
        """Replies that came when nobody waited for them any more."""
        return self._connected.requests.late

    @property
    def handled_groups(self) -> frozenset[str]:
        """The groups of its handlers."""
        return frozenset(spec.group for spec in self._specs)

    @property
    def simplest_url(self) -> str:
        """A URL that gives its handlers what they need: `memory://`, if that does."""
        capabilities = Bus("memory://").capabilities
        needs = {need for spec in self._specs for need in spec.requirements}
        return (
            "memory://"
            if all(capabilities.support(need) != "refused" for need in needs)
            else "sqlite:///test.db"
        )

    @contextmanager
    def on(
        self,
        url: str,
        *,
        clock: Clock,
        seed: int = 0,
        wrap: Callable[[Transport], Transport] = lambda transport: transport,
    ) -> Iterator[None]:
        """Let it be somewhere else for a while, with everything that was declared on it.

        Args:
            seed: Of its dice.
            wrap: Makes of the transport the one that is used.
        """
        fresh = vars(Bus(url, clock=clock, random=random_module.Random(seed).random))
        before = {name: vars(self)[name] for name in _PLACE}
        vars(self).update({name: fresh[name] for name in _PLACE})
        self._transports = [wrap(transport) for transport in self._transports]
        try:
            yield
        finally:
            vars(self).update(before)

    @asynccontextmanager
    async def at_work(self, *, waits_for_retries: bool = False) -> AsyncIterator[None]:
        """Run its handlers, unless it has none. At the end those that still run are cancelled.

        Args:
            waits_for_retries: `settled` waits for what waits for a retry, too: time passes by itself.
        """
        self._waits_for_retries = waits_for_retries
        async with self.running(drain=0):
            yield

    async def settled(self) -> None:
        """Wait until its handlers have nothing to do: what was published is handled and settled.

        What is due later than the clock's now stays: a retry, and what is scheduled. Under a schedule of faults, time
        passes by itself, and retries are waited for.

        Raises:
            TimeoutError: A handler does not end, for example because it waits for time to pass. The text says which.
        """
        inspector = self.inspector()
        found: list[GroupInfo] = []
        quiet = 0
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while quiet < 2:  # twice, since a medium may be looked at in several steps
                    found = self._owing(await inspector.groups())
                    quiet = 0 if found else quiet + 1
                    await self._pause()
        except TimeoutError:
            raise TimeoutError(
                "not settled: "
                + ", ".join(
                    f"group {each.group!r} has {each.ready} ready, {each.in_flight} in flight and {each.waiting} "
                    f"waiting on {each.topic!r}"
                    for each in found
                )
                + "; a handler that waits for time to pass needs `await clock.advance(…)`"
            ) from None

    def _owing(self, groups: Sequence[GroupInfo]) -> list[GroupInfo]:
        patterns = [(spec.group, spec.topic.name) for spec in self._specs]
        return [
            each
            for each in groups
            if each.ready
            + each.in_flight
            + (each.waiting if getattr(self, "_waits_for_retries", False) else 0)
            and any(each.group == group and matches(pattern, each.topic) for group, pattern in patterns)
        ]

    async def _pause(self) -> None:
        for _ in range(_TURNS_COUNT):
            await asyncio.sleep(0)
        if self.capabilities.persistent:
            await asyncio.sleep(_LOOK_S)
