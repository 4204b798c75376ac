"""What a joiner says when a transport does not."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from waystation import Capabilities, Message, SendUnconfirmed
from waystation._core.delivery import SendOutcome
from waystation._runtime import joiner
from waystation._runtime.joiner import Joiner
from waystation.testing import VirtualClock
from waystation.transports.memory import MemoryTransport


class Silent(MemoryTransport):
    """`memory://` as if it were far away, and never answered."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, multi_process=True)

    async def send(self, messages: Sequence[Message], /) -> Sequence[SendOutcome]:
        await super().send(messages)
        await asyncio.Event().wait()
        return ()


async def test_without_an_answer_in_time_the_outcome_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner, "SEND_TIMEOUT_S", 0.001)
    transport = Silent(VirtualClock())
    await transport.open()
    sender = Joiner(transport)
    outcome = await sender.put(Message("m1", "t", b"{}"))
    await sender.close()
    await transport.close()
    assert isinstance(outcome, SendUnconfirmed), "it was stored"
    assert outcome.message_id == "m1"
    assert isinstance(outcome.__cause__, TimeoutError)
