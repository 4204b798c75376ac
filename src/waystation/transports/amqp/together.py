"""Looking once for all who ask meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """A question whose answer, found after somebody has asked, is good for all who had asked by then."""

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        self._look = look
        self._turn = asyncio.Lock()
        self._asked = self._answered = 0
        self._answer: list[T] = []

    async def __call__(self) -> T:
        """Return what is found by a look that has begun since this was called."""
        self._asked += 1
        number = self._asked
        async with self._turn:
            if self._answered < number:
                upto = self._asked
                self._answer = [await self._look()]
                self._answered = upto
            return self._answer[0]
