"""A channel of `amqp://` by itself: what is said in it, and what it makes of the answers. No server."""

import pytest

from waystation._core.url import parse_url
from waystation.transports.amqp.channel import Channel
from waystation.transports.amqp.connection import Connection
from waystation.transports.amqp.driver import Driver
from waystation.transports.amqp.options import read_options


async def test_answers_find_their_questions_in_whatever_order_they_come() -> None:
    """A queue confirms its consumer when it likes; the server itself answers what was asked later before that."""
    pytest.importorskip("pamqp")
    driver = Driver()
    commands = driver.commands
    channel = Channel(Connection(driver, read_options(parse_url("amqp://localhost/"))), 1)
    consumes = [channel.call(commands.Basic.Consume(0, queue, queue)) for queue in ("one", "two")]
    declared = channel.call(commands.Queue.Declare(0, "three", True))

    def hear(said: object) -> None:
        frame = driver.marshal(said, 1)
        channel.hear_method(frame[7:-1], frame)

    hear(commands.Queue.DeclareOk("three", 5, 0))
    hear(commands.Basic.ConsumeOk("one"))
    hear(commands.Basic.ConsumeOk("two"))
    assert (await declared).message_count == 5
    assert [(await consume).consumer_tag for consume in consumes] == ["one", "two"]
