"""Bodies: every declared kind goes there and back; whatever bytes arrive, the only error is `DecodeError`."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.codec import check_type, content_type_of, decode, encode, type_name
from waystation._core.errors import ConfigurationError, DecodeError, EncodeError
from waystation._core.message import BYTES, JSON, MSGPACK, TEXT


class Kind(enum.Enum):
    GIFT = "gift"
    LOAN = "loan"


class Line(msgspec.Struct, frozen=True):
    sku: str
    count: int


class Order(msgspec.Struct):
    order_id: str
    total: float
    lines: list[Line] = []
    kind: Kind = Kind.GIFT


class Strict(msgspec.Struct, forbid_unknown_fields=True, tag="strict"):
    when: dt.datetime
    price: decimal.Decimal
    ident: uuid.UUID
    data: bytes = b""


class Checked(msgspec.Struct):
    total: float

    def __post_init__(self) -> None:
        if self.total < 0:
            raise LookupError("a validator may raise what it likes")


@dataclasses.dataclass
class Parcel:
    weight: float
    labels: dict[str, str]
    spare: int | None = None


class Address(TypedDict):
    street: str
    number: int


class Point(NamedTuple):
    x: int
    y: int


class Customer(pydantic.BaseModel):
    name: str
    age: int = 0
    orders: list[str] = []

    @pydantic.field_validator("age")
    @classmethod
    def _plausible(cls, age: int) -> int:
        if age > 200:
            raise KeyError("a validator may raise what it likes")
        return age


class Foreign:
    """Neither msgspec nor pydantic can build one."""


class Tree(msgspec.Struct):
    children: "list[Tree]" = []


class Hidden(msgspec.Struct):
    deep: dict[str, list[Foreign | None]] = {}


TYPES: list[Any] = [
    *(bytes, str, int, float, bool, None, Any, dict, list),
    *(Order, Strict, Checked, Parcel, Address, Point, Customer, Kind),
    *(list[Order], dict[str, int], tuple[int, str], Order | None, Literal["a", "b"], set[int]),
    *(dt.datetime, dt.date, dt.timedelta, decimal.Decimal, uuid.UUID, bytearray),
    *(list[Customer], dict[str, Customer]),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["order_id", "total", "lines", "kind", "when", "price", "ident", "data", "type", "x", "y"]
            )
            | st.sampled_from(["weight", "labels", "street", "number", "name", "age", "orders"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
bodies = (
    st.binary(max_size=64)
    | st.text(max_size=64).map(str.encode)
    | values.map(lambda value: json.dumps(value).encode())
)


def only_decode_errors(body: bytes, body_type: Any, content_type: str) -> None:
    try:
        decode(body, body_type, content_type)
    except DecodeError as error:
        assert str(error)  # noqa: PT017 - whether it raises is not the point


@given(bodies, st.sampled_from(TYPES))
def test_no_json_body_raises_anything_but_a_decode_error(body: bytes, body_type: Any) -> None:
    only_decode_errors(body, body_type, JSON)


@given(values, st.sampled_from(TYPES))
def test_no_messagepack_body_raises_anything_but_a_decode_error(value: Any, body_type: Any) -> None:
    try:
        body = msgspec.msgpack.encode(value)
    except OverflowError:
        return
    only_decode_errors(body, body_type, MSGPACK)
    only_decode_errors(body[:-1], body_type, MSGPACK)


@given(st.binary(max_size=64), st.sampled_from(TYPES), st.text(max_size=30))
def test_no_content_type_raises_anything_but_a_decode_error(
    body: bytes, body_type: Any, content_type: str
) -> None:
    only_decode_errors(body, body_type, content_type)


@pytest.mark.parametrize("body_type", TYPES, ids=str)
def test_deep_nesting_is_invalid_and_not_a_crash(body_type: Any) -> None:
    only_decode_errors(b"[" * 100_000, body_type, JSON)
    only_decode_errors(b'{"a":' * 100_000, body_type, JSON)
    only_decode_errors(b"\x91" * 100_000, body_type, MSGPACK)


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
@pytest.mark.parametrize(
    ("body_type", "value"),
    [
        (Order, Order("A-1", 9.5, [Line("tea", 2)], Kind.LOAN)),
        (
            Strict,
            Strict(
                dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
                decimal.Decimal("1.10"),
                uuid.UUID(int=7),
                b"\0\xff",
            ),
        ),
        (Parcel, Parcel(1.5, {"to": "Zürich"})),
        (Address, Address(street="Bäckerweg", number=3)),
        (Point, Point(1, 2)),
        (Customer, Customer(name="Ada", age=36, orders=["A-1"])),
        (list[Customer], [Customer(name="Ada")]),
        (list[Order], [Order("A-1", 9.5), Order("A-2", 0.0)]),
        (dict[str, int], {"a": 1}),
        (Order | None, None),
        (int, 2**63),
        (Kind, Kind.GIFT),
    ],
    ids=str,
)
def test_a_value_goes_there_and_back(body_type: Any, value: Any, content_type: str) -> None:
    assert decode(encode(value, content_type), body_type, content_type) == value


@given(st.binary())
def test_bytes_pass_through(body: bytes) -> None:
    assert content_type_of(bytes) == BYTES
    assert encode(body, BYTES) == body
    assert decode(body, bytes, "image/png") == body


@given(st.text())
def test_text_passes_as_utf8(text: str) -> None:
    assert content_type_of(str) == TEXT
    if any("\ud800" <= c <= "\udfff" for c in text):
        with pytest.raises(EncodeError):
            encode(text, TEXT)
    else:
        assert decode(encode(text, TEXT), str, TEXT) == text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json; charset=utf-8", b'{"sku":"tea","count":1}'),
        ("APPLICATION/JSON", b'{"sku":"tea","count":1}'),
        ("application/vnd.shop.line+json", b'{"sku":"tea","count":1}'),
        ("application/vnd.msgpack", msgspec.msgpack.encode({"sku": "tea", "count": 1})),
    ],
)
def test_a_body_is_read_by_its_own_content_type(content_type: str, body: bytes) -> None:
    assert decode(body, Line, content_type) == Line("tea", 1)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"sku": 1, "count": 1}', r"Expected `str`, got `int` - at `\$.sku`"),
        (b'{"sku": "tea"}', "missing required field `count`"),
        (b"{", "truncated"),
        (b"", "truncated"),
    ],
)
def test_an_invalid_body_is_refused_by_name_and_place(body: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says) as caught:
        decode(body, Line, JSON)
    assert "not a valid Line (application/json)" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "body_type"), [(b'{"total":-1}', Checked), (b'{"name":"x","age":201}', Customer)]
)
@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_what_a_validator_raises_makes_the_body_invalid(
    body: bytes, body_type: Any, content_type: str
) -> None:
    packed = body if content_type == JSON else msgspec.msgpack.encode(json.loads(body))
    with pytest.raises(DecodeError, match="a validator may raise what it likes"):
        decode(packed, body_type, content_type)


@pytest.mark.parametrize("content_type", ["image/png", "application/x-python-pickle", "", "text/plain"])
def test_a_content_type_without_a_reader_is_refused(content_type: str) -> None:
    with pytest.raises(DecodeError, match="cannot be read as Line"):
        decode(b"{}", Line, content_type)


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (object(), JSON),
        (object(), MSGPACK),
        ({"x": object()}, JSON),
        ("text", BYTES),
        (b"bytes", TEXT),
        (2**64, MSGPACK),
        ({1, object()}, JSON),
    ],
)
def test_a_value_that_cannot_be_written_is_refused(value: object, content_type: str) -> None:
    with pytest.raises(EncodeError, match="cannot be written as"):
        encode(value, content_type)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError):
        encode(endless, JSON)


def test_a_model_that_fails_to_dump_is_refused() -> None:
    class Odd(pydantic.BaseModel):
        name: str

        @pydantic.field_serializer("name")
        def _write(self, name: str) -> str:
            raise KeyError(name)

    with pytest.raises(EncodeError):
        encode(Odd(name="x"), JSON)


def test_a_content_type_that_cannot_be_written_is_refused_at_declaration() -> None:
    with pytest.raises(ConfigurationError, match="application/xml"):
        content_type_of(Order, "application/xml")
    assert content_type_of(Order) == JSON
    assert content_type_of(Order, MSGPACK) == MSGPACK


@pytest.mark.parametrize("body_type", [*TYPES, Tree, dict[str, Tree]], ids=str)
def test_a_type_that_can_be_read_is_accepted(body_type: Any) -> None:
    check_type(body_type, "topic 'a'")


@pytest.mark.parametrize(
    "body_type", [Line | Order, "Missing", Foreign, list[Foreign], Hidden, tuple[int, Hidden]]
)
def test_a_type_that_cannot_be_read_is_refused_at_declaration(body_type: Any) -> None:
    with pytest.raises(ConfigurationError, match="topic 'a'"):
        check_type(body_type, "topic 'a'")


def test_types_are_named_as_people_write_them() -> None:
    assert type_name(Order) == "Order"
    assert type_name(list[int]) == "list[int]"
    assert type_name(int | None) == "int | None"
