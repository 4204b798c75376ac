"""Write the parts of the documentation that the code knows best: signatures, limits, capabilities, commands, errors.

    python -m scripts.docs            write them anew
    python -m scripts.docs --check    say which are out of date, and exit with 1 if there are any

A generated part stands between two comments, and only that is replaced:

    <!-- generated: limits -->
    <!-- /generated -->
"""

from __future__ import annotations

import argparse
import enum
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import typer
from typer.core import TyperArgument

import waystation
from waystation import Bus, queueing
from waystation._core import errors, exitcode, limits
from waystation._core.capabilities import FACTS, Capabilities
from waystation.cli.app import build
from waystation.testing import conformance

from . import figures, matrix, measured, models, wire

ROOT = Path(__file__).parent.parent

PART = re.compile(
    r"^(?P<head><!-- generated: (?P<name>[\w.-]+) -->\n).*?^(?P<tail><!-- /generated -->)$",
    re.DOTALL | re.MULTILINE,
)

#: Transports by the URL that shows what each gives, with what stands above its column.
URLS = {
    "memory://": "memory://",
    "sqlite://": "sqlite:///shop.db",
    "tcp://…?listen": "tcp://127.0.0.1:7400?listen",
    "amqp://": "amqp://127.0.0.1",
    "kafka://": "kafka://127.0.0.1",
    "nats://": "nats://127.0.0.1",
    "redis://": "redis://127.0.0.1",
}

#: Sections of an API page: its name in a marker, and what is on it.
PAGES: dict[str, tuple[str, ...]] = {
    "bus": ("Bus", "Router", "BlockingBus", "Transaction", "Received", "PendingReply", "Depends"),
    "values": (
        *("Topic", "Endpoint", "StreamEndpoint", "Message", "Receipt", "Durability", "Delivery"),
        *("Accept", "Retry", "DeadLetter", "Release", "RetryPolicy", "RetryNow", "Reject", "Capabilities"),
        *("Health", "SubscriptionHealth"),
    ),
}

#: Classes that a program is given and does not make.
GIVEN = {"BlockingBus", "Transaction", "Received", "PendingReply", "Delivery", "Health", "SubscriptionHealth"}

#: The same of `waystation.queueing`: what its functions return.
RESULTS = {
    *("Backlog", "Closed", "Course", "Delay", "Drain", "Filling", "Load", "Queue", "Retries", "Scalability"),
    *("Sizing", "Step", "Stretch", "Throughput", "Transfer", "Trust", "Variation"),
}

#: Methods that the library's own rooms call.
INTERNAL = {"send_messages", "takes_from", "end", "abandon"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, or check; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if something is out of date"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder with docs/ in it")
    options = parser.parse_args(arguments)
    stale = list(outdated(options.root))
    for file, text in stale:
        if not options.check:
            file.write_text(text, encoding="utf-8")
        print(
            f"{file.relative_to(options.root)} {'is out of date: make docs' if options.check else 'was written'}"
        )
    return 1 if options.check and stale else 0


def outdated(root: Path) -> Iterator[tuple[Path, str]]:
    """Documents whose generated parts differ from what the code says, with what they should be."""
    for file in sorted(root.glob("docs/**/*.md")):
        text = file.read_text(encoding="utf-8")
        fresh = PART.sub(
            lambda match: f"{match['head']}\n{generated(match['name']).strip()}\n\n{match['tail']}", text
        )
        if fresh != text:
            yield file, fresh
    yield from figures.outdated(root)


def generated(name: str) -> str:
    """Return one part as Markdown."""
    if name in PAGES:
        return "\n\n".join(api(getattr(waystation, each)) for each in PAGES[name])
    if name in {"queueing-functions", "queueing-classes"}:
        wanted = inspect.isfunction if name == "queueing-functions" else inspect.isclass
        found = (getattr(queueing, each) for each in queueing.__all__)
        return "\n\n".join(function_or_class(each) for each in found if wanted(each))
    parts: dict[str, Callable[[], str]] = {
        "limits": limits_table,
        "capabilities": capabilities_table,
        "contract": contract_table,
        "errors": error_tree,
        "commands": commands,
        "exit-codes": exit_codes,
        "rules": conformance_rules,
        "campaign": measured.campaign,
        "matrix": matrix.table,
        **models.PARTS,
        **wire.PARTS,
    }
    return parts[name]()


# --- limits, errors, exit codes: from the comments and docstrings of their modules --------------------------------


def limits_table() -> str:
    """Every limit with its reason, under the headings of its module."""
    lines: list[str] = []
    for heading, name, comment in commented(limits, r"^(\w+): Final = "):
        if heading and (not lines or f"### {heading}" not in lines):
            lines += ["", f"### {heading}", "", "| limit | value | why |", "|---|--:|---|"]
        lines.append(f"| `{name}` | {with_unit(name, getattr(limits, name))} | {comment} |")
    return "\n".join(lines)


def exit_codes() -> str:
    """Every exit status."""
    rows = [
        f"| {code.value} | `{code.name}` | {comment} |"
        for code in exitcode.ExitCode
        for comment in re.findall(rf"^    {code.name} = \d+  #: (.+)$", source_of(exitcode), re.MULTILINE)
    ]
    return "\n".join(["| status | name | meaning |", "|--:|---|---|", *rows])


def error_tree() -> str:
    """The tree that the module of errors draws, and what carries more than words."""
    tree = re.search(r"```\n(.*?)```", errors.__doc__ or "", re.DOTALL)
    assert tree is not None, "errors.py draws its tree"
    return f"```text\n{tree[1]}```"


def commented(module: ModuleType, pattern: str) -> Iterator[tuple[str, str, str]]:
    """Yield (heading, name, comment) for what a module sets below `#:` comments and `# --- heading ---` lines."""
    heading, comment = "", []
    for line in source_of(module).splitlines():
        if found := re.match(r"# --- (.+?) -+$", line):
            heading = found[1].capitalize()
        elif line.startswith("#: "):
            comment.append(line[3:])
        elif found := re.match(pattern, line):
            yield heading, found[1], " ".join(comment)
            comment = []


def source_of(module: ModuleType) -> str:
    """Return a module's text."""
    return inspect.getsource(module)


def with_unit(name: str, value: float) -> str:
    """Return a limit as people read it; its name ends in its unit."""
    parts = name.split("_")
    unit = next((part for part in reversed(parts) if part in {"S", "BYTES", "CHARS"}), "")
    if unit == "BYTES" and value >= 1024:
        return f"{value // (1 << 20)} MiB" if value >= 1 << 20 else f"{value // 1024} KiB"
    number = f"{value:,}" if isinstance(value, int) else f"{value:,g}"
    return f"{number} {'characters' if unit == 'CHARS' else unit.lower()}".strip()


# --- capabilities -----------------------------------------------------------------------------------------------


def capabilities_table() -> str:
    """What each transport gives."""
    found: list[Capabilities] = [Bus(url).capabilities for url in URLS.values()]
    rows = [
        ["what", *(f"`{heading}`" for heading in URLS)],
        ["---"] * (len(found) + 1),
        ["strongest durability of a send", *(f"`{capabilities.send.name}`" for capabilities in found)],
        ["largest body", *(f"{capabilities.message_bytes_max >> 20} MiB" for capabilities in found)],
    ]
    for need, fact in FACTS.items():
        rows.append([f"`{need}`: {fact.meaning}", *(each.support(need) for each in found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def contract_table() -> str:
    """What in a program asks for each fact, and what becomes of it where the transport does not have it."""
    rows = []
    for need, fact in FACTS.items():
        instead = f"; instead: {fact.instead}" if fact.instead else ""
        without = f"added: {fact.added}" if fact.added else f"refused{instead}"
        allowed = f". With `allow=`: {fact.accepted}" if fact.accepted else ""
        rows.append(f"| `{need}` | {fact.asked_by or 'only `needs=`'} | {without}{allowed} |")
    return "\n".join(["| fact | asked for by | where the transport lacks it |", "|---|---|---|", *rows])


def conformance_rules() -> str:
    """The rules of the conformance suite, each with the names of its tests, which are sentences."""
    tests = [(mark.rule, name) for name, mark in conformance.marked_tests(conformance.TransportConformance)]
    rows = []
    for rule in conformance.RULES.values():
        sentences = [name.partition("_c")[2][3:].replace("_", " ") for each, name in tests if each is rule]
        claims = ", ".join(f"`{need}`" for need in rule.needs) or "all"
        rows.append(f"| {rule.name} | {rule.title} | {claims} | {'; '.join(sentences)} |")
    return "\n".join(["| | rule | asked of | tests |", "|---|---|---|---|", *rows])


# --- commands ---------------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command, from what its `--help` is made of."""
    group = typer.main.get_command(build())
    return "\n\n".join(one(path, command) for path, command in walk(group, ("waystation",)))


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield commands that do something, depth first."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, each in inner.items():
        yield from walk(each, (*path, name))


def one(path: tuple[str, ...], command: Any) -> str:
    """One command: what it does, how it is typed, an example, arguments and options."""
    prose, _, example = inspect.cleandoc(command.help or "").partition("Example:")
    example = example.strip().strip("`")
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    arguments = [parameter for parameter in shown if is_argument(parameter)]
    options = [parameter for parameter in shown if not is_argument(parameter) and parameter.name != "help"]
    usage = " ".join([*path, *map(metavar, arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"### {' '.join(path[1:])}", "", " ".join(prose.split()), "", "```text", usage, "```"]
    lines += ["", "```console", f"$ {example}", "```"]
    if shown:
        lines += ["", "| argument or option | meaning |", "|---|---|", *map(row, [*arguments, *options])]
    return "\n".join(lines)


def is_argument(parameter: Any) -> bool:
    """Whether a parameter of a command goes by its position."""
    return isinstance(parameter, TyperArgument)


def metavar(parameter: Any) -> str:
    """What stands for a value in a line of usage."""
    if isinstance(parameter.default, enum.Enum):
        return "\\|".join(str(choice.value) for choice in type(parameter.default))
    return str(parameter.metavar or parameter.name.upper())


def row(parameter: Any) -> str:
    """The names of an option or argument, and what it means."""
    names = metavar(parameter)
    if not is_argument(parameter):
        names = ", ".join([*parameter.opts, *parameter.secondary_opts]) + (
            "" if parameter.is_flag else f" {names}"
        )
    default = getattr(parameter.default, "value", parameter.default)
    shown = default not in (None, False, [], ()) and parameter.show_default and not is_argument(parameter)
    tail = f" Default: `{default}`." if shown else ""
    return f"| `{names}` | {parameter.help or ''}{tail} |"


# --- the public names ---------------------------------------------------------------------------------------------


def api(thing: type) -> str:
    """A class with its public methods: signatures and docstrings as they are."""
    name = thing.__name__
    lines = [f"## {name}", "", markdown(inspect.getdoc(thing) or "")]
    if issubclass(thing, int):
        lines += ["", *fields_of_enum(thing)]
    elif issubclass(thing, msgspec.Struct):
        lines += ["", *fields_of(thing)]
    elif name not in GIVEN | RESULTS and (not issubclass(thing, Exception) or "__init__" in vars(thing)):
        lines += ["", *signature(name, thing)]
    for method, member in members(thing):
        lines += ["", f"### {name}.{method}", ""]
        if not isinstance(member, property):
            lines += [*signature(method, member), ""]
        lines.append(markdown(inspect.getdoc(member) or ""))
    return "\n".join(lines)


def function_or_class(thing: Any) -> str:
    """A public name of a room without a page of its own for each: a function, or a class that functions return."""
    if not inspect.isfunction(thing):
        return api(thing)
    return "\n".join(
        [
            f"## {thing.__name__}",
            "",
            *signature(thing.__name__, thing),
            "",
            markdown(inspect.getdoc(thing) or ""),
        ]
    )


def members(thing: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, in the order of the source, bases last."""
    seen = set()
    for cls in thing.__mro__:
        if not cls.__module__.startswith("waystation"):
            continue
        for name, member in vars(cls).items():
            if name.startswith("_") or name in seen or name in INTERNAL:
                continue
            seen.add(name)
            if isinstance(member, property) or inspect.isfunction(member):
                yield name, member


def signature(name: str, function: Any) -> list[str]:
    """A signature as a block of code, one argument a line if it is long."""
    found = inspect.signature(function)
    parameters = [parameter for parameter in found.parameters.values() if parameter.name != "self"]
    shown = [text for parameter in parameters for text in spelled(parameter, function)]
    keywords = [parameter.kind is parameter.KEYWORD_ONLY or is_spelled(parameter) for parameter in parameters]
    if True in keywords:
        shown.insert(keywords.index(True), "*")
    returned = found.return_annotation
    arrow = "" if returned in (found.empty, None, "None") else f" -> {annotated(returned)}"
    if inspect.isasyncgenfunction(inspect.unwrap(function)):
        arrow = arrow.replace("AsyncIterator", "AbstractAsyncContextManager")
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    line = f"{prefix}{name}({', '.join(shown)}){arrow}"
    if len(line) > 100:
        inside = textwrap.indent(",\n".join(shown), "    ")
        line = f"{prefix}{name}(\n{inside},\n){arrow}"
    return ["```text", line, "```"]


def spelled(parameter: inspect.Parameter, function: Any) -> list[str]:
    """One parameter; of `**options: Unpack[X]` what the `TypedDict` X allows."""
    if not is_spelled(parameter):
        return [argument(parameter)]
    hints = inspect.unwrap(function).__globals__[parameter.annotation[7:-1]].__annotations__
    return [f"{name}: {annotated(hint.__forward_arg__)} = ..." for name, hint in hints.items()]


def is_spelled(parameter: inspect.Parameter) -> bool:
    """Whether a `TypedDict` says which keyword arguments there are."""
    return str(parameter.annotation).startswith("Unpack[")


def argument(parameter: inspect.Parameter) -> str:
    """One parameter as it stands in the source."""
    star = (
        "*"
        if parameter.kind is parameter.VAR_POSITIONAL
        else "**"
        if parameter.kind is parameter.VAR_KEYWORD
        else ""
    )
    kind = "" if parameter.annotation is parameter.empty else f": {annotated(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return f"{star}{parameter.name}{kind}"
    factory = type(parameter.default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS"
    default = "{}" if factory else repr(parameter.default)
    return f"{parameter.name}{kind}{' = ' if kind else '='}{default}"


def annotated(annotation: Any) -> str:
    """An annotation as it stands in the source."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\bwaystation\.[\w.]+\.(\w+)", r"\1", text)


def fields_of(thing: Any) -> list[str]:
    """The fields of a struct."""
    rows = []
    for field in msgspec.structs.fields(thing):
        kind = annotated(field.type).replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{kind}` |")
    return ["| field | type |", "|---|---|", *rows]


def fields_of_enum(thing: Any) -> list[str]:
    """The members of an enumeration with the comments beside them."""
    text = inspect.getsource(thing)
    rows = re.findall(r"^    (\w+) = (\d+)  #: (.+)$", text, re.MULTILINE)
    return ["| name | value | meaning |", "|---|--:|---|", *(f"| `{n}` | {v} | {m} |" for n, v, m in rows)]


def markdown(docstring: str) -> str:
    """A docstring of Google's style as Markdown: sections become lists."""
    lines: list[str] = []
    section = ""
    for line in docstring.splitlines():
        if heading := re.fullmatch(r"(Args|Attributes|Raises|Returns):", line):
            section = heading[1]
            lines += [f"**{'Arguments' if section == 'Args' else section}**", ""]
        elif not line.startswith("    "):
            section = section if not line else ""
            lines.append(line)
        elif section != "Returns" and (item := re.fullmatch(r"    ([\w.]+): (.*)", line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif section:
            lines.append(line.strip() if section == "Returns" else f"  {line.strip()}")
        else:
            lines.append(line)
    return "\n".join(lines).strip()


if __name__ == "__main__":
    sys.exit(main())
