"""The generated parts of docs/wire-protocol.md: what the code of `_wire` knows best.

Types are those that the decoder checks, and meanings are the docstrings beside them, so neither can differ from what a
peer meets.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from waystation._core.capabilities import FACTS, Capabilities
from waystation._core.message import Message
from waystation._core.packed import Packed
from waystation._wire import states
from waystation._wire.frames import BYES, CODES, Answer, Frame, Request
from waystation._wire.methods import METHODS
from waystation._wire.states import TRANSITIONS, Role, State

#: Values that have a section of their own.
SECTIONS: Mapping[type, str] = {Packed: "batch", Message: "message", Capabilities: "capabilities"}


def overview() -> str:
    """Every frame by its code: who says it, and what for."""
    rows = [
        f"| {code} | [`{frame.__name__}`](#{frame.__name__.lower()}) | {speaker(frame)} | {purpose(frame)} |"
        for code, frame in CODES.items()
    ]
    return "\n".join(["| type | frame | said by | what for |", "|--:|---|---|---|", *rows])


def frames() -> str:
    """Every frame with its fields, in their order."""
    found = []
    for code, frame in CODES.items():
        fields = fields_of(frame, meanings(Frame) | meanings(frame))
        found.append(f"### {frame.__name__}\n\nType {code}, {speaker(frame)}. {purpose(frame)}\n\n{fields}")
    return "\n\n".join(found)


def values() -> str:
    """What stands inside of frames: batches, messages, and what a transport gives."""
    facts: dict[str, str] = {need: f"It {fact.meaning}." for need, fact in FACTS.items()}
    parts = [
        "### Batch",
        "An array: the columns of a run if there is a `shared`, else one message after the other.",
        fields_of(Packed, meanings(Packed)),
        "### Message",
        "An array.",
        fields_of(Message, meanings(Message)),
        "### Capabilities",
        "The only map: a fact of which a client has not heard is passed over.",
        fields_of(Capabilities, meanings(Capabilities) | facts),
    ]
    return "\n\n".join(parts)


def state_table() -> str:
    """Every state: what it means, and what each peer may say in it."""
    comments = dict(re.findall(r'= "(\w+)"  #: (.+)$', inspect.getsource(State), re.MULTILINE))
    rows = []
    for state in State:
        said = [", ".join(words(TRANSITIONS[role][state], state)) or "nothing" for role in Role]
        rows.append(f"| {state.value} | {comments[state.value]} | {said[0]} | {said[1]} |")
    head = ["| state | meaning | a client may say | a server may say |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def words(row: states.Row, state: State) -> Iterator[str]:
    """What may be said, with where it leads if that is elsewhere."""
    families = {"a request": Request, "an answer": Answer}
    whole = {name: set(kinds.__args__) for name, kinds in families.items() if set(kinds.__args__) <= set(row)}
    yield from whole
    for frame, to in row.items():
        if not any(frame in kinds for kinds in whole.values()):
            yield f"`{frame.__name__}`" + ("" if to is state else f" → {to.value}")


def diagram() -> str:
    """The table of states as a drawing: arrows for what changes the state."""
    arrows: dict[tuple[State, State], dict[str, list[str]]] = {}
    for role, rows in TRANSITIONS.items():
        for state, row in rows.items():
            for frame, to in row.items():
                if to is not state:
                    arrows.setdefault((state, to), {}).setdefault(frame.__name__, []).append(role.value)
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(State)).value}"]
    for (state, to), said in arrows.items():
        label = ", ".join(
            f"{name} of the {by[0]}" if len(by) == 1 else f"{name} of either" for name, by in said.items()
        )
        lines.append(f"    {state.value} --> {to.value}: {label}")
    heard = [state for state in State if state not in (State.FAILED, State.CLOSED)]
    lines += [f"    {state.value} --> {State.FAILED.value}: the peer says what it may not" for state in heard]
    lines.append(f"    {State.CLOSED.value} --> [*]")
    return "\n".join(["```mermaid", *lines, "```"])


def byes() -> str:
    """The codes of `Bye`."""
    rows = [f"| `{code}` | {meaning} |" for code, meaning in BYES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def calls() -> str:
    """What can be called by name."""
    rows = []
    for name, method in METHODS.items():
        infos = msgspec.inspect.type_info(method.arguments)
        assert isinstance(infos, msgspec.inspect.StructType)
        arguments = ", ".join(f"`{field.name}`: {spelled(field.type)}" for field in infos.fields)
        rows.append(f"| `{name}` | {arguments or 'none'} | {'yes' if method.repeatable else 'no'} |")
    head = ["| method | arguments, in their order | twice is once |", "|---|---|---|"]
    return "\n".join([*head, *rows])


# --- frames -------------------------------------------------------------------------------------------------------


def speaker(frame: type[Frame]) -> str:
    """Who says it, from the table of states, which its docstring must not contradict."""
    by = [role.value for role in Role if any(frame in row for row in TRANSITIONS[role].values())]
    said = "either" if len(by) == 2 else by[0]
    assert (inspect.getdoc(frame) or "").startswith(f"{said.capitalize()}: "), frame
    return said


def purpose(frame: type[Frame]) -> str:
    """The first sentences of its docstring, without who says it."""
    text = inspect.getdoc(frame) or ""
    first = text.partition("\n\n")[0].partition(": ")[2]
    return first[0].upper() + first[1:]


def meanings(thing: type) -> dict[str, str]:
    """What its docstring says of its attributes."""
    text = inspect.getdoc(thing) or ""
    found = re.search(r"^Attributes:\n((?:    .*\n?)+)", text, re.MULTILINE)
    pairs = re.findall(r"^    (\w+): ((?:.|\n        )+)", found[1], re.MULTILINE) if found else []
    return {name: re.sub(r"\bNone\b", "nil", " ".join(meaning.split())) for name, meaning in pairs}


def fields_of(thing: Any, said: Mapping[str, str]) -> str:
    """A table of fields. Each has a meaning, or this is an error."""
    info = msgspec.inspect.type_info(thing)
    assert isinstance(info, (msgspec.inspect.StructType, msgspec.inspect.DataclassType))
    rows = []
    for place, field in enumerate(info.fields):
        meaning = said.get(field.name) or own(field.name)
        rows.append(f"| {place} | `{field.name}` | {spelled(field.type)} | {default(field)} | {meaning} |")
    return "\n".join(["| | field | type | if missing | meaning |", "|--:|---|---|---|---|", *rows])


def own(name: str) -> str:
    """What a field means whose name says all."""
    known = {"messages": "The messages, if they are not columns.", "ids": "One for each message."}
    return (known | {"bodies": known["ids"]})[name]


def default(field: msgspec.inspect.Field) -> str:
    """What a field is when an older peer leaves it out."""
    if field.required:
        return "refused"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or isinstance(value, msgspec.Raw):
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return f"`{value}`" if value else "empty"


def spelled(kind: Any) -> str:
    """A type in words that mean something in every language."""
    match kind:
        case msgspec.inspect.StructType() | msgspec.inspect.DataclassType() if kind.cls in SECTIONS:
            return f"[{SECTIONS[kind.cls]}](#{SECTIONS[kind.cls]})"
        case msgspec.inspect.StructType() | msgspec.inspect.DataclassType():
            return kind.cls.__name__
        case msgspec.inspect.IntType(ge=None):
            return "integer"
        case msgspec.inspect.IntType():
            return f"number from {kind.ge:,}" if kind.ge else "number"
        case msgspec.inspect.FloatType(gt=None, le=None):
            return "float"
        case msgspec.inspect.FloatType():
            return f"float over {kind.gt:g}, at most {kind.le:g}" if kind.gt is not None else "float from 0"
        case msgspec.inspect.ListType():
            limit = f", at most {kind.max_length:,}" if kind.max_length else ""
            return f"array of {spelled(kind.item_type)}{limit}"
        case msgspec.inspect.TupleType():
            return f"[{', '.join(map(spelled, kind.item_types))}]"
        case msgspec.inspect.DictType():
            return f"map of {spelled(kind.key_type)} to {spelled(kind.value_type)}"
        case msgspec.inspect.UnionType():
            return " or ".join(map(spelled, kind.types))
        case msgspec.inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in kind.values)
    return PLAIN[type(kind).__name__]


PLAIN: Mapping[str, str] = {
    "StrType": "text",
    "BytesType": "binary",
    "BoolType": "boolean",
    "NoneType": "nil",
    "RawType": "anything",
    "AnyType": "anything",
    "EnumType": "number",
}

PARTS = {
    "wire-overview": overview,
    "wire-frames": frames,
    "wire-values": values,
    "wire-states": state_table,
    "wire-diagram": diagram,
    "wire-byes": byes,
    "wire-calls": calls,
}
"""Each part by its name in a marker."""
