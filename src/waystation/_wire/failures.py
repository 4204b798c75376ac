"""Errors travel by name: class, text, and the facts that a program may ask for; never a traceback, never a pickle.

What may be raised at the other end is exactly what `_core/errors.py` defines. A name that is not there, from a newer
peer or a hostile one, becomes a `TransportError` with its text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .._core import errors
from .._core.errors import TransportError, WaystationError
from .._core.limits import REASON_CHARS_MAX
from .frames import Ended, Failed

#: The code of an error that is none of ours: a fault of the peer's, of which it says no more than the class.
INTERNAL: Final = "internal"

#: The code of an error that a database raised at a statement of a transaction; the fact `class` names its class there.
SQL: Final = "sql"

_CLASSES: Mapping[str, type[WaystationError]] = {
    name: thing
    for name, thing in vars(errors).items()
    if isinstance(thing, type) and issubclass(thing, WaystationError)
}

#: The attributes that travel, and their types.
_FACTS: Mapping[type[WaystationError], Mapping[str, Callable[[str], Any]]] = {
    errors.UnsupportedCapability: {"capability": str, "transport": str},
    errors.MessageTooLarge: {"size_bytes": int, "size_bytes_max": int},
    errors.SendUnconfirmed: {"message_id": str},
    errors.LocalProtocolError: {"code": str, "field": str},
    errors.RemoteProtocolError: {"code": str, "field": str},
    errors.ProtocolError: {"code": str, "field": str},
    errors.HandlerTimeout: {"limit_s": float},
    errors.RequestTimeout: {"parts": int},
    errors.RequestFailed: {"reason": str},
    errors.StreamBroken: {"parts": int},
}


def failed(seq: int, error: BaseException, lost: Sequence[int] = ()) -> Failed:
    """Return a request's error as it travels.

    Args:
        lost: Numbers of deliveries whose leases had ended.
    """
    found = next((each for each in type(error).__mro__ if _CLASSES.get(each.__name__) is each), None)
    if found is None:
        return Failed(seq, INTERNAL, f"the server failed: {type(error).__name__}", lost=list(lost))
    facts = {name: _clean(str(getattr(error, name))) for name in _FACTS.get(found, ())}
    return Failed(seq, found.__name__, _clean(str(error)), facts, list(lost))


def ended(channel: int, error: BaseException) -> Ended:
    """Return the error that ended a feed as it travels."""
    failure = failed(0, error)
    return Ended(channel, failure.code, failure.text)


def error_of(failure: Failed | Ended | tuple[str, str]) -> WaystationError:
    """Return what came as the error that it was; of a pair, code and text, its facts are not known."""
    code, text = failure if isinstance(failure, tuple) else (failure.code, failure.text)
    facts = failure.facts if isinstance(failure, Failed) else {}
    found = _CLASSES.get(code)
    if found is None:
        return TransportError(text or code)
    return found(text, **{name: _fact(kind, facts.get(name)) for name, kind in _FACTS.get(found, {}).items()})


def _fact(kind: Callable[..., Any], text: str | None) -> Any:
    """Read a fact; what is missing or nonsense is nothing."""
    try:
        return kind() if text is None else kind(text)
    except ValueError:
        return kind()


def _clean(text: str) -> str:
    """Return a text that can travel: not too long, and without the halves of characters that file names may have."""
    return text[:REASON_CHARS_MAX].encode("utf-8", "replace").decode()
