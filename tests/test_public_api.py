"""The public surface, approved by a human: a change of it is a diff that a reviewer must see.

`tests/approved_api.txt` holds every public name with its signature. After a change on purpose:

    .venv/bin/python tests/test_public_api.py --approve
"""

import difflib
import enum
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PUBLIC = [
    "waystation",
    *("waystation.transports", "waystation.testing", "waystation.queueing", "waystation.observe"),
]
APPROVED = Path(__file__).with_name("approved_api.txt")
COMMAND = "python tests/test_public_api.py --approve"


def is_built(package: str) -> bool:
    """Whether this part of the library exists yet."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin is not None  # a folder without __init__ is not a door


def exposed(module: ModuleType) -> set[str]:
    """Names that a user can reach by a dot, submodules and `from __future__` aside."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }


def surface() -> str:
    """Every public name of every public package, one a line, with signatures."""
    lines: list[str] = []
    for package in filter(is_built, PUBLIC):
        module = importlib.import_module(package)
        lines += ["", f"# {package}"]
        values = {name: getattr(module, name) for name in sorted(getattr(module, "__all__", []))}
        for name, value in values.items():
            lines += describe(name, value)
        lines += sorted({line for value in values.values() for line in keywords(value)})
    return "\n".join(lines).strip() + "\n"


def describe(name: str, value: Any) -> Iterator[str]:
    """One name in as many lines as it has public parts."""
    if inspect.isclass(value):
        yield from describe_class(name, value)
    elif inspect.isfunction(value):
        yield f"{kind(value)} {name}{signature(value)}"
    else:
        yield f"{name} = {stable(repr(value))}"


def describe_class(name: str, cls: type) -> Iterator[str]:
    """A class, how it is made, and its members; what the standard library gives it is left out."""
    yield f"class {name}{bases(cls)}"
    construction = signature(cls) if is_constructed_by_users(cls) else ""
    if construction:
        yield f"    {name}{construction}"
    if issubclass(cls, enum.Enum):
        yield from (f"    {member.name} = {member.value!r}" for member in cls)
    for member in inspect.classify_class_attrs(cls):
        if member.name.startswith("_") or not member.defining_class.__module__.startswith("waystation"):
            continue
        function = getattr(member.object, "__func__", member.object)
        if member.kind == "property":
            yield f"    {member.name}: property"
        elif inspect.isfunction(function):
            mark = {"class method": "@classmethod ", "static method": "@staticmethod "}.get(member.kind, "")
            yield f"    {mark}{kind(function)} {member.name}{signature(function)}"
    for field, annotation in sorted(inspect.get_annotations(cls).items()):
        if not field.startswith("_") and f"{field}: " not in construction:
            yield f"    {field}: {stable(inspect.formatannotation(annotation))}"


def keywords(value: Any) -> Iterator[str]:
    """The `TypedDict`s that spell out keyword arguments of a class's methods, each in a line."""
    for _, function in inspect.getmembers(value, inspect.isfunction):
        for name in re.findall(r"Unpack\[(\w+)\]", signature(function)):
            hints = function.__globals__[name].__annotations__.items()
            written = [f"{key}: {getattr(hint, '__forward_arg__', hint)}" for key, hint in hints]
            yield f"{name}: {{{', '.join(written)}}}"


def bases(cls: type) -> str:
    """Its bases as they were written, type parameters included."""
    written = [base for base in getattr(cls, "__orig_bases__", cls.__bases__) if base is not object]
    return f"({', '.join(stable(inspect.formatannotation(base)) for base in written)})" if written else ""


def is_constructed_by_users(cls: type) -> bool:
    """Not protocols and enums; and of exceptions only those that take more than a message."""
    if getattr(cls, "_is_protocol", False) or issubclass(cls, enum.Enum):
        return False
    return is_ours(cls.__init__) or not issubclass(cls, BaseException)


def kind(function: Any) -> str:
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    return "async def" if is_async else "def"


def is_ours(function: Any) -> bool:
    return getattr(function, "__module__", "").startswith("waystation")


def signature(value: Any) -> str:
    try:
        return stable(str(inspect.signature(value)))
    except ValueError:  # made in C
        return "(...)"


def stable(text: str) -> str:
    """The same on every machine and every Python: no addresses, no module paths, no quoted annotations."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    text = re.sub(r"(^|: |-> )'([^']*)'", r"\1\2", text)
    return re.sub(r"\b(?:waystation|typing|collections\.abc|pathlib|datetime)(?:\._?\w+)*\.(?=\w)", "", text)


@pytest.mark.parametrize("package", PUBLIC)
def test_what_is_exposed_is_what_is_declared(package: str) -> None:
    if not is_built(package):
        pytest.skip("not built yet")
    module = importlib.import_module(package)
    declared = getattr(module, "__all__", [])
    assert exposed(module) == {name for name in declared if not name.startswith("__")}
    assert len(declared) == len(set(declared))


def test_the_public_surface_is_the_approved_one() -> None:
    if not is_built("waystation"):
        pytest.skip("not built yet")
    approved = APPROVED.read_text(encoding="utf-8") if APPROVED.exists() else ""
    diff = difflib.unified_diff(approved.splitlines(), surface().splitlines(), "approved", "now", lineterm="")
    if lines := list(diff):
        pytest.fail("\n".join([*lines, f"If this is meant: {COMMAND}"]), pytrace=False)


def test_a_name_that_is_not_declared_is_exposed() -> None:
    module = ModuleType("planted")
    vars(module).update(Open=int, _hidden=int, sub=ModuleType("sub"))
    assert exposed(module) == {"Open"}


def test_a_changed_signature_changes_the_text() -> None:
    def before(topic: str, *, key: str | None = None) -> None: ...
    def after(topic: str, *, key: str = "") -> None: ...

    assert list(describe("f", before)) == ["def f(topic: str, *, key: str | None = None) -> None"]
    assert list(describe("f", before)) != list(describe("f", after))


if __name__ == "__main__":
    if sys.argv[1:] != ["--approve"]:
        sys.exit(f"usage: {COMMAND}")
    APPROVED.write_text(surface(), encoding="utf-8")
    print(f"wrote {APPROVED}")
