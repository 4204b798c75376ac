"""Bytes to values and back, by content type and declared type.

Only types that the program declared are ever built: nothing in a message names code, and pickle does not exist here.
JSON and MessagePack are msgspec's; `bytes` and `str` pass through. A pydantic model is recognised by its own
methods, so pydantic is needed only by those who use it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, TypeVar, get_origin, runtime_checkable

import msgspec
from msgspec import inspect

from .errors import ConfigurationError, DecodeError, EncodeError
from .message import BYTES, JSON, MSGPACK, TEXT

T = TypeVar("T")

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes], Any]

#: Content types that a topic may name, and what each is called in a sentence.
CONTENT_TYPES = (JSON, MSGPACK)


@runtime_checkable
class _PydanticModel(Protocol):
    """What of a pydantic v2 model class is used here."""

    @classmethod
    def model_validate_json(cls, json_data: bytes, /) -> Any: ...

    @classmethod
    def model_validate(cls, obj: Any, /) -> Any: ...

    @classmethod
    def model_rebuild(cls) -> Any: ...


def content_type_of(body_type: Any, wanted: str = JSON) -> str:
    """Return the content type in which bodies of a type are written.

    `bytes` and `str` are themselves, whatever the topic's content type; all else is `wanted`.

    Raises:
        ConfigurationError: `wanted` is not a content type that can be written.
    """
    if body_type is bytes:
        return BYTES
    if body_type is str:
        return TEXT
    if wanted not in CONTENT_TYPES:
        raise ConfigurationError(
            f"content_type={wanted!r} cannot be written: use one of {', '.join(CONTENT_TYPES)}"
        )
    return wanted


@lru_cache(maxsize=1024)
def encoder_for(content_type: str) -> Encoder:
    """Return the function that writes a body in a content type.

    It raises `EncodeError` for a value that the content type cannot hold.
    """
    if content_type == BYTES:
        return _checked(bytes, _same)
    if content_type == TEXT:
        return _checked(str, _utf8)
    if content_type == JSON:
        return msgspec.json.Encoder(enc_hook=_encode_other).encode
    if content_type == MSGPACK:
        return msgspec.msgpack.Encoder(enc_hook=_encode_other).encode
    raise ConfigurationError(f"content_type={content_type!r} cannot be written")


@lru_cache(maxsize=1024)
def decoder_for(body_type: Any, content_type: str) -> Decoder:
    """Return the function that reads and validates a body.

    It raises whatever its library raises for an invalid body; `decode` makes that a `DecodeError`.

    Raises:
        DecodeError: Bodies of this content type cannot be read as this type.
    """
    media = content_type.partition(";")[0].strip().lower()
    if body_type is bytes:
        return _same
    if body_type is str:
        return _text
    model = body_type if _is_pydantic(body_type) else None
    if media == JSON or media.endswith("+json"):
        return (
            model.model_validate_json
            if model
            else msgspec.json.Decoder(body_type, dec_hook=_decode_other).decode
        )
    if media == MSGPACK or media in ("application/x-msgpack", "application/vnd.msgpack"):
        return (
            _msgpack_model(model)
            if model
            else msgspec.msgpack.Decoder(body_type, dec_hook=_decode_other).decode
        )
    raise DecodeError(f"content type {content_type!r} cannot be read as {type_name(body_type)}")


def encode(value: Any, content_type: str) -> bytes:
    """Write a body.

    Raises:
        EncodeError: The value cannot be written in this content type.
    """
    try:
        return encoder_for(content_type)(value)
    except MemoryError:
        raise
    except Exception as error:  # what a model's own serializer raises is its author's choice
        raise EncodeError(
            f"a {type_name(type(value))} cannot be written as {content_type}: {error}"
        ) from error


def decode(body: bytes, body_type: Any, content_type: str) -> Any:
    """Read a body and check it against its declared type.

    Raises:
        DecodeError: The body is not valid; the text says where.
    """
    try:
        return decoder_for(body_type, content_type)(body)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # what a type's own validator raises is its author's choice
        raise DecodeError(f"not a valid {type_name(body_type)} ({content_type}): {error}") from error


def check_type(body_type: Any, where: str) -> None:
    """Refuse a declared type that no codec can read.

    Raises:
        ConfigurationError: At declaration, so that a program with an impossible topic does not start.
    """
    try:
        decoder_for(body_type, JSON)
        foreign = None if _is_pydantic(body_type) else _foreign_class(inspect.type_info(body_type), set())
    except (TypeError, ValueError, NameError) as error:
        raise ConfigurationError(
            f"{where}: {type_name(body_type)} cannot be read from a message: {error}"
        ) from error
    if foreign is not None:
        raise ConfigurationError(
            f"{where}: a {type_name(foreign)} cannot be read from a message: make it a dataclass, a msgspec Struct "
            "or a pydantic model"
        )


def type_name(body_type: Any) -> str:
    """Return a type's name as people write it."""
    name = getattr(body_type, "__qualname__", None) if get_origin(body_type) is None else None
    return name or str(body_type)


def _is_pydantic(body_type: Any) -> bool:
    return isinstance(body_type, type) and isinstance(body_type, _PydanticModel)


def _msgpack_model(model: Any) -> Decoder:
    plain = msgspec.msgpack.Decoder().decode
    return lambda body: model.model_validate(plain(body))


def _encode_other(value: Any) -> Any:
    """Write what msgspec does not know: pydantic models, as plain data."""
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"objects of type {type_name(type(value))} are not supported")


def _decode_other(body_type: Any, value: Any) -> Any:
    """Read what msgspec does not know: pydantic models inside other types."""
    if _is_pydantic(body_type):
        return body_type.model_validate(value)
    raise NotImplementedError(f"objects of type {type_name(body_type)} are not supported")


def _foreign_class(info: Any, seen: set[int]) -> Any:
    """Return the first class somewhere inside a type that neither msgspec nor pydantic can build, or None."""
    if isinstance(info, inspect.CustomType):
        return None if _is_pydantic(info.cls) else info.cls
    if not isinstance(info, (inspect.Type, inspect.Field, tuple)) or id(info) in seen:
        return None
    seen.add(id(info))
    parts = info if isinstance(info, tuple) else [getattr(info, name) for name in info.__struct_fields__]
    found = (_foreign_class(part, seen) for part in parts)
    return next((each for each in found if each is not None), None)


def _checked(wanted: type, write: Encoder) -> Encoder:
    def encode_checked(value: Any) -> bytes:
        if not isinstance(value, wanted):
            raise TypeError(f"expected {wanted.__name__}")
        return write(value)

    return encode_checked


def _same(value: Any) -> bytes:
    return bytes(value)


def _utf8(value: Any) -> bytes:
    encoded: bytes = value.encode()
    return encoded


def _text(body: bytes) -> str:
    return body.decode()
