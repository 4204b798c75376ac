"""Two connections joined by bytes, one of each frame, and any of each frame for hypothesis."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgspec
from hypothesis import strategies as st

from waystation._core.capabilities import Capabilities
from waystation._core.delivery import Durability
from waystation._core.message import Message
from waystation._core.packed import Packed, pack
from waystation._core.question import Reply
from waystation._core.run import MessageRun
from waystation._wire.connection import Connection
from waystation._wire.frames import (
    CODES,
    Answers,
    Ask,
    Bye,
    Call,
    Cancel,
    Close,
    Credit,
    Deliver,
    Ended,
    Extend,
    Failed,
    Frame,
    GoAway,
    Hello,
    Open,
    Ping,
    Pong,
    Result,
    Send,
    Sent,
    Settle,
    Welcome,
)
from waystation._wire.states import Role

MESSAGE = Message("m-1", "orders.placed", b'{"id":7}', "anna", {"tenant": "blue"}, type="Order", time=5.0)
RUN = MessageRun(Message("", "orders.placed", b"", type="Order"), ["m-1", "m-2"], [b"1", b""], ["anna", None])

QUESTION = Message("m-3", "prices.quote", b'{"sku":"tea"}', reply_to="_reply.ab12", expires_at=9.0)

#: One frame of each type, with something in every field.
EXAMPLES: tuple[Frame, ...] = (
    Hello("waystation", (1, 1), ["later"], "shop", "host-1", 4711, "s3cret", b"\x01\x02", 7, [(3, 90)], 2.5),
    Welcome(
        1,
        Capabilities(name="sqlite", send=Durability.FLUSHED),
        b"\x09",
        True,
        6,
        ["later"],
        "waystation 1",
        2.5,
    ),
    Bye("limit", "too long", "Send.batch"),
    GoAway("a new version is installed"),
    Ping(1),
    Pong(1),
    Send(7, 6, pack([MESSAGE])),
    Sent(7, int(Durability.FLUSHED), {0: "m-0"}, {1: ("SendRejected", "full")}),
    Call(8, 6, "groups", msgspec.Raw(b"\x90")),
    Result(8, msgspec.Raw(b"\x93\x01\x02\x03")),
    Failed(9, "MessageTooLarge", "too large", {"size_bytes": "9"}, [4, 5]),
    Cancel(8),
    Ask(9, 6, [QUESTION]),
    Answers([9, 10], [Reply(b'{"price":5}', "application/json"), Reply(b"", "application/json", "sold out")]),
    Open(10, 7, 3, "orders.*", "billing", False, True),
    Credit(3, 90, 490),
    Deliver(3, 90, pack(RUN), [1, 2], {1: "the checksum is wrong"}),
    Ended(3, "StoreUnavailable", "the disk is gone"),
    Settle(11, 7, 3, [(90, 91)], [(91, "retry", 0.5, "ValueError", "a traceback")]),
    Extend(12, 7, 3, [(91, 92)]),
    Close(13, 7, 3),
)

WELCOME = EXAMPLES[1]


def written(code: int, payload: bytes, *, flags: int = 0) -> bytes:
    """A frame as docs/wire-protocol.md describes it, made without the code under test."""
    checksum = crc32(bytes([code, flags]) + payload)
    return len(payload).to_bytes(4, "big") + bytes([code, flags]) + checksum.to_bytes(4, "big") + payload


def part(code: int, number: int, total: int, piece: bytes, *, flags: int = 2) -> bytes:
    """One part of a whole, made likewise."""
    return written(code, number.to_bytes(4, "big") + total.to_bytes(4, "big") + piece, flags=flags)


class ConnectionPair:
    """A client and a server with nothing between them."""

    def __init__(self) -> None:
        self.ends = {role: Connection(role) for role in Role}
        self.client, self.server = self.ends[Role.CLIENT], self.ends[Role.SERVER]

    def says(self, role: Role, *frames: Frame) -> list[Frame]:
        """Let one say this; return what the other heard."""
        heard = []
        for frame in frames:
            said = self.ends[role].say(frame)
            for data in [said] if isinstance(said, bytes) else said:
                heard += self.ends[role.peer].received(data)
        return heard

    def greet(self) -> ConnectionPair:
        """Let them make themselves known to each other."""
        self.says(Role.CLIENT, Hello("waystation", (1, 1)))
        self.says(Role.SERVER, WELCOME)
        return self


# --- any frame ----------------------------------------------------------------------------------------------------

_WORDS = st.text(max_size=8)
_LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | _WORDS | st.binary(max_size=8)
ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=8,
)


def frames() -> st.SearchStrategy[Frame]:
    """Any frame that may travel, of any type."""
    return st.one_of(*(_values(msgspec.inspect.type_info(frame)) for frame in CODES.values()))


@st.composite
def _packed(draw: st.DrawFn) -> Packed:
    """Any batch: one message after another, or a run."""
    message = _values(msgspec.inspect.type_info(Message))
    if draw(st.booleans()):
        return pack(draw(st.lists(message, max_size=3)))
    count = draw(st.integers(0, 4))
    ids = [draw(_WORDS) for _ in range(count)]
    bodies = [draw(st.binary(max_size=8)) for _ in range(count)]
    keys = [draw(st.none() | _WORDS) for _ in range(count)] if draw(st.booleans()) else None
    return pack(MessageRun(draw(message), ids, bodies, keys))


@st.composite
def _deliveries(draw: st.DrawFn) -> Deliver:
    """Deliveries, all with their attempts or none."""
    batch = draw(_packed())
    attempts = list(range(1, len(batch) + 1)) if draw(st.booleans()) else []
    return Deliver(1, 90, batch, attempts, draw(st.dictionaries(st.integers(0, 3), _WORDS)))


@st.composite
def _answers(draw: st.DrawFn) -> Answers:
    """Answers, one for each question."""
    replies = draw(st.lists(_values(msgspec.inspect.type_info(Reply)), max_size=3))
    return Answers([draw(st.integers(0, 2**63 - 1)) for _ in replies], replies)


def _values(kind: Any) -> st.SearchStrategy[Any]:
    """What fits a type, as msgspec describes types: what a frame allows is written down once."""
    match kind:
        case msgspec.inspect.StructType(cls=cls) if cls in (Packed, Deliver, Answers):
            made: dict[Any, Any] = {Packed: _packed, Deliver: _deliveries, Answers: _answers}
            found: st.SearchStrategy[Any] = made[cls]()
            return found
        case msgspec.inspect.StructType() | msgspec.inspect.DataclassType():
            return st.builds(kind.cls, **{field.name: _values(field.type) for field in kind.fields})
        case msgspec.inspect.IntType():
            return st.integers(-(2**63) if kind.ge is None else kind.ge, kind.le or 2**63 - 1)
        case msgspec.inspect.FloatType():
            least = kind.ge if kind.gt is None else kind.gt
            return st.floats(least, kind.le, exclude_min=kind.gt is not None, allow_nan=False)
        case msgspec.inspect.TupleType():
            return st.tuples(*map(_values, kind.item_types))
        case msgspec.inspect.ListType():
            return st.lists(_values(kind.item_type), min_size=kind.min_length or 0, max_size=3)
        case msgspec.inspect.DictType():
            return st.dictionaries(_values(kind.key_type), _values(kind.value_type), max_size=3)
        case msgspec.inspect.UnionType():
            return st.one_of(*map(_values, kind.types))
        case msgspec.inspect.LiteralType(values=choices) | msgspec.inspect.EnumType(cls=choices):
            return st.sampled_from(choices)
        case msgspec.inspect.RawType():
            return ANYTHING.map(lambda value: msgspec.Raw(msgspec.msgpack.encode(value)))
    simple = {
        "StrType": _WORDS,
        "BytesType": st.binary(max_size=8),
        "BoolType": st.booleans(),
        "NoneType": st.none(),
    }
    return simple[type(kind).__name__]
