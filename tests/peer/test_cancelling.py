"""Requests that are taken back."""

from __future__ import annotations

import asyncio
from functools import partial

from waystation._peer.remote import _call
from waystation._wire.frames import Answer, Cancel, Failed, Result
from waystation._wire.methods import Nothing

from .stand import PATIENCE_S, client, serving


async def test_a_question_taken_back_in_the_same_breath_has_its_answer() -> None:
    """Else its number would stay open, and all answers after it be kept."""
    async with serving() as stand, client(stand.url) as remote:
        link = remote._link
        assert link is not None
        answer: asyncio.Future[Answer | Exception] = asyncio.get_running_loop().create_future()
        pending = link.request(partial(_call, "topics", Nothing()), answer.set_result)
        assert pending.seq
        link.say(Cancel(pending.seq))
        async with asyncio.timeout(PATIENCE_S):
            assert isinstance(await answer, Failed | Result)
        assert await remote.topics() == []
