"""What a client does in one short session: it sends, asks, receives, answers, and settles in every way there is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from waystation._core.delivery import (
    ACCEPT,
    RELEASE,
    Accept,
    DeadLetter,
    Delivery,
    Receipt,
    Retry,
    SendOutcome,
    Settlement,
)
from waystation._core.inspection import Inspector
from waystation._core.message import Message
from waystation._core.ports import Feed, Subscription, Topology, Transport
from waystation._peer.remote import RemoteTransport

TOPIC, GROUP = "work", "g"
REPLIES = "_reply.errand"
SUBSCRIPTION = Subscription(pattern=TOPIC, group=GROUP)

#: A group that never reads: so everything that was ever stored is still there at the end.
ARCHIVE = Subscription(pattern=TOPIC, group="archive")

BATCHES = (
    (("m1", "a"), ("m2", "b"), ("m3", None)),
    (("m4", "a"), ("m5", "b")),
    (("m6", "a"), ("m7", None), ("m8", "b")),
)
BODY = b"x" * 40

#: How a first attempt ends if it is not accepted.
FIRST: dict[str, Settlement] = {"m2": Retry(0.0, "again"), "m3": RELEASE, "m5": DeadLetter("enough", "why")}

KEYS = {id_: key for batch in BATCHES for id_, key in batch}
SENT = list(KEYS)


@dataclass
class Done:
    """What came of it, as its client sees it."""

    outcomes: dict[str, SendOutcome] = field(default_factory=dict)
    received: list[tuple[str, int]] = field(default_factory=list)
    released: list[tuple[str, int]] = field(default_factory=list)
    ends: list[tuple[str, str | None]] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    lag: int = -1


async def run(client: RemoteTransport) -> Done:
    """Do it."""
    done = Done()
    await client.declare(Topology((TOPIC,), (SUBSCRIPTION, ARCHIVE)))
    feed = await client.open_feed(SUBSCRIPTION)
    mailbox = await client.open_feed(Subscription(pattern=REPLIES, group=None))
    sending = [_post(client, done, batch) for batch in BATCHES]
    await asyncio.gather(*sending, _settle_all(feed, done), _answered(client, mailbox, done))
    done.lag = await lag(client)
    await feed.close()
    return done


async def _post(client: RemoteTransport, done: Done, batch: Sequence[tuple[str, str | None]]) -> None:
    messages = [Message(id_, TOPIC, BODY, key=key) for id_, key in batch]
    told: asyncio.Future[Sequence[SendOutcome]] = asyncio.get_running_loop().create_future()
    client.post(messages, told.set_result)
    for message, outcome in zip(messages, await told, strict=True):
        done.outcomes[message.id] = outcome


async def _settle_all(feed: Feed, done: Done) -> None:
    tried: set[str] = set()
    while len(done.ends) < len(SENT):
        deliveries = await feed.receive(10)
        outcomes: list[tuple[Delivery, Settlement]] = []
        for delivery in deliveries:
            message = delivery.message
            assert message.body == BODY
            how: Settlement = ACCEPT
            if _is_behind(message, done):
                how = RELEASE  # as the runtime does: it was under way when an earlier one of its key was put off
            elif message.id not in tried:
                tried.add(message.id)
                how = FIRST.get(message.id, ACCEPT)
            if isinstance(how, Accept | DeadLetter):
                done.ends.append((message.id, message.key))
            if how is RELEASE:
                done.released.append((message.id, delivery.attempt))
            done.received.append((message.id, delivery.attempt))
            outcomes.append((delivery, how))
        await feed.extend(deliveries)
        await feed.settle(outcomes)


def _is_behind(message: Message, done: Done) -> bool:
    """Whether an earlier message of its key has not ended."""
    earlier = [id_ for id_ in SENT if id_ < message.id and KEYS[id_] == message.key is not None]
    ended = [id_ for id_, _ in done.ends]
    return any(id_ not in ended for id_ in earlier)


async def _answered(client: RemoteTransport, mailbox: Feed, done: Done) -> None:
    """Be answered, by oneself, twice."""
    for number in range(2):
        reply = Message(f"r{number}", REPLIES, b"reply")
        (outcome,) = await client.send([reply])
        done.outcomes[reply.id] = outcome
    while len(done.replies) < 2:
        done.replies += [delivery.message.id for delivery in await mailbox.receive(10)]


async def lag(inspector: Inspector) -> int:
    """What the group has still to settle."""
    (found,) = [each.lag for each in await inspector.groups() if each.group == GROUP]
    return found


async def complaints(inner: Transport, done: Done) -> list[str]:
    """Hold what came of it against the store."""
    assert isinstance(inner, Inspector)
    wrong = [f"{id_}: {out!r}" for id_, out in done.outcomes.items() if not isinstance(out, Receipt)]
    stored = Counter(message.id for _, message in await inner.browse(TOPIC, start="earliest", limit=1000))
    wrong += [f"{id_} is stored {count} times" for id_, count in stored.items() if count != 1]
    wrong += [f"{id_} is lost" for id_ in SENT if id_ not in stored]
    if done.lag or await lag(inner):
        wrong.append(f"{done.lag} and then {await lag(inner)} are not settled")
    dead = [letter.message.id for letter in await inner.dead()]
    if dead != ["m5"]:
        wrong.append(f"dead: {dead}")
    given_back = Counter(done.released)
    for each, count in Counter(done.received).items():
        if count > 1 + given_back[each]:
            wrong.append(f"{each} was received {count} times")
    for key in ("a", "b"):
        order = [id_ for id_, its in done.ends if its == key]
        if order != sorted(order):
            wrong.append(f"of {key} the order was {order}")
    if done.replies != ["r0", "r1"]:
        wrong.append(f"the replies were {done.replies}")
    return wrong
