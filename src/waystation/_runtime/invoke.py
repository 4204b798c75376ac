"""From a handler's signature to what it takes and what becomes of its result: checked at declaration."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Never, NoReturn, Union, get_args, get_origin

from .._core.codec import type_name
from .._core.delivery import Accept, DeadLetter, Release, Retry, Settlement
from .._core.errors import ConfigurationError
from .._core.limits import HANDLER_BATCH_MESSAGES
from .depends import Plan, plan_arguments
from .signature import MISSING, Parameter, Signature, read_signature, without_none

#: What becomes of a handler's result: nothing, one message, each item of it a message, a settlement per delivery.
Returns = Literal["nothing", "one", "many", "settlements"]

_SETTLEMENTS = (Accept, Retry, DeadLetter, Release)
_SEQUENCES = (list, tuple, Sequence)
_ITERATORS = (AsyncIterator, AsyncGenerator, AsyncIterable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What was learned from a handler's signature.

    Attributes:
        signature: The function, and its name for errors and logs.
        body_type: What bodies are decoded as; for a batch handler, each of them.
        batch: Messages that one call takes at most; None: the handler takes one body, not a list.
        parameters: Those after the body.
        plan: Where their values come from.
        returns: What becomes of the result.
    """

    signature: Signature
    body_type: Any
    batch: int | None
    parameters: tuple[Parameter, ...]
    plan: Plan
    returns: Returns

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return self.signature.form == "async"


def compile_handler(
    function: Callable[..., Any],
    *,
    body_type: Any,
    result_type: Any,
    batch: int | None,
    replies: bool,
    streams: bool = False,
) -> Invocation:
    """Check a handler's signature.

    Args:
        function: The handler.
        body_type: The type of its topic; `MISSING` for a topic that is only a name.
        result_type: The type of what it may return: of the topic that it publishes to, or of the reply; `MISSING`:
            it may return nothing.
        batch: As declared.
        replies: Whether its result is a reply.
        streams: Whether it yields the parts of its reply.

    Raises:
        ConfigurationError: The signature does not fit; the text names the function, its line and the parameter.
    """
    signature = read_signature(function)
    _check_form(signature, streams=streams)
    if not signature.parameters:
        raise ConfigurationError(f"{signature.name} takes no parameter: the first one is the message's body")
    first, *rest = signature.parameters
    if first.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
        raise ConfigurationError(
            f"{signature.name}: its first parameter is the body, which is passed by position"
        )
    found_type, size = _body(signature, first, body_type, batch)
    plan = plan_arguments(signature, rest, in_batch=size is not None, overrides={})
    if plan.takes_transaction and signature.form == "plain":
        raise ConfigurationError(
            f"{signature.name} takes a Transaction, whose methods are awaited: make it an 'async def'"
        )
    if plan.takes_transaction and streams:
        raise ConfigurationError(
            f"{signature.name} takes a Transaction, which would be open as long as it yields: use bus.transaction() "
            "around what it writes"
        )
    if size is not None:
        returns = _batch_result(signature, result_type)
    else:
        returns = _result(signature, result_type, replies=replies, streams=streams)
    return Invocation(
        signature=signature,
        body_type=found_type,
        batch=size,
        parameters=tuple(rest),
        plan=plan,
        returns=returns,
    )


def _body(
    signature: Signature, first: Parameter, topic_type: Any, batch: int | None
) -> tuple[Any, int | None]:
    """Return what bodies are decoded as, and how many a call takes (None: one, and not as a list)."""
    if batch is not None and batch < 1:
        raise ConfigurationError(f"{signature.name}: batch={batch} must be 1 or more")
    annotation = first.annotation
    item = get_args(annotation)[0] if get_origin(annotation) in (list, Sequence) else MISSING
    if batch is None and (annotation == topic_type or annotation in (MISSING, Any)):
        return (Any if topic_type is MISSING else topic_type), None
    if topic_type is MISSING:
        # A topic that is only a name: the handler says what its bodies are.
        if batch is None:
            return annotation, None
        topic_type = Any if item is MISSING else item
    if item is not MISSING and _accepts(item, topic_type):
        return topic_type, batch or HANDLER_BATCH_MESSAGES
    if batch is None:
        if _accepts(annotation, topic_type):
            return topic_type, None
    elif annotation in (MISSING, Any, list):
        return topic_type, batch
    wanted = type_name(topic_type)
    possible = f"list[{wanted}]" if batch is not None else f"{wanted}, or list[{wanted}] for a batch"
    raise ConfigurationError(
        f"{signature.name}: its topic carries {wanted}, but the parameter {first.name!r} is "
        f"{type_name(annotation)}: make it {possible}"
    )


def _accepts(annotation: Any, value_type: Any) -> bool:
    """Say whether a value of one type may be passed where another is declared."""
    if annotation in (Any, MISSING, value_type) or value_type in (Any, MISSING):
        return True
    if get_origin(annotation) in (Union, UnionType):
        return any(_accepts(each, value_type) for each in get_args(annotation))
    return isinstance(annotation, type) and isinstance(value_type, type) and annotation in value_type.__mro__


def _check_form(signature: Signature, *, streams: bool) -> None:
    if streams and signature.form != "async generator":
        raise ConfigurationError(
            f"{signature.name} does not yield: what answers a StreamEndpoint is an 'async def' with 'yield' in it"
        )
    if not streams and signature.form not in ("plain", "async"):
        raise ConfigurationError(
            f"{signature.name} yields: a handler returns, and publishes what it has to say; only what answers a "
            "StreamEndpoint yields"
        )


def _result(signature: Signature, result_type: Any, *, replies: bool, streams: bool) -> Returns:
    returned = signature.returns
    if streams:
        if get_origin(returned) not in _ITERATORS:
            returned = MISSING if returned in (MISSING, Any, *_ITERATORS) else NoneType
        else:
            returned = get_args(returned)[0]
        if _accepts(NoneType if result_type is None else result_type, returned):
            return "many"
        shown, wanted = _shown(signature.returns), _shown(result_type)
        raise ConfigurationError(
            f"{signature.name} returns {shown}, but its endpoint answers with parts that are {wanted}: annotate it "
            f"AsyncIterator[{wanted}]"
        )
    if returned in (Never, NoReturn):
        return "one" if replies else "nothing"
    if replies:
        if _accepts(NoneType if result_type is None else result_type, returned):
            return "one"
        raise ConfigurationError(
            f"{signature.name} returns {_shown(returned)}, but its endpoint answers with {_shown(result_type)}"
        )
    if result_type is not MISSING:
        return _published(signature, result_type)
    if returned in (NoneType, MISSING, Any):
        return "nothing"
    if returned == Settlement or returned in _SETTLEMENTS:
        raise ConfigurationError(
            f"{signature.name} returns a settlement, which only batch handlers do: raise RetryNow or Reject instead"
        )
    raise ConfigurationError(
        f"{signature.name} returns {_shown(returned)}, which would be lost: declare where it is published, "
        "publishes=Topic(...), or return None"
    )


def _published(signature: Signature, result_type: Any) -> Returns:
    value = without_none(signature.returns)
    if value is NoneType:
        raise ConfigurationError(
            f"{signature.name} returns None, so there is nothing for publishes= to publish"
        )
    if _accepts(result_type, value):
        return "one"
    if get_origin(value) in _SEQUENCES and _accepts(result_type, get_args(value)[0]):
        return "many"
    raise ConfigurationError(
        f"{signature.name} returns {_shown(signature.returns)}, but the topic it publishes to carries "
        f"{_shown(result_type)}"
    )


def _batch_result(signature: Signature, result_type: Any) -> Returns:
    if result_type is not MISSING:
        raise ConfigurationError(
            f"{signature.name} takes batches, so what it returns are settlements: publish with bus.batch() in it"
        )
    returned = without_none(signature.returns)
    if returned in (NoneType, MISSING, Any, list):
        return "settlements"
    if get_origin(returned) in _SEQUENCES:
        items = [
            each for arg in get_args(returned) for each in (get_args(arg) or (arg,)) if each is not Ellipsis
        ]
        if all(item in (*_SETTLEMENTS, Any) for item in items):
            return "settlements"
    raise ConfigurationError(
        f"{signature.name} returns {_shown(returned)}: a batch handler returns None, or list[Settlement] with one "
        "for each message"
    )


def _shown(annotation: Any) -> str:
    return "None" if annotation in (None, NoneType) else type_name(annotation)
