"""Style that matters is a test. Each rule is a function over a tree of files, and is itself tested below.

The rules with a number are ratchets: the number may only shrink.
"""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60

#: `type: ignore[code]  # reason` comments outside tests/typing, where they are the assertions.
TYPE_IGNORES_MAX = 0

#: Files that may block: a thread of its own, where SQLite calls its busy handler; commands, which wait for processes.
MAY_SLEEP = {"src/waystation/_servers/patience.py", "src/waystation/_store/database.py"}

#: Files of the engine that may ask what time it is. Whatever a message shows goes by the clock that a program brings.
MAY_READ_TIME = {
    "src/waystation/_runtime/clock.py",  # the clock that a program brings if it brings none
    "src/waystation/_store/bodies.py",  # the file system's own stamps
    "src/waystation/_store/database.py",  # how long SQLite has been busy
    "src/waystation/_store/maintenance.py",  # when its thread tidies up next
    "src/waystation/_store/wakeup.py",  # the file system's own stamps
    "src/waystation/transports/sqlite/sender.py",  # how long the disk's free space is believed
}

#: The rooms that make up the engine; the others measure, show and test it.
ENGINE = ("_core", "_runtime", "_store", "transports")

#: Found by name at run time, or imported by users only; so nothing in src need import them.
DOORS = ("waystation.transports.", "waystation.testing.")

#: Words of which a limit's name must have one, so that nobody asks "30 what?".
UNITS = {
    *("S", "MS", "US", "HOURS", "DAYS", "BYTES", "MIB", "CHARS", "BITS"),
    *("MAX", "MIN", "COUNT", "ATTEMPTS", "MESSAGES", "ROWS", "PAGES", "RATIO", "SHARE", "FACTOR"),
}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def python_files(root: Path, *folders: str) -> Iterator[Path]:
    """Every Python file of these folders, or of all that hold some."""
    for folder in folders or ("src", "tests", "scripts", "examples"):
        yield from sorted((root / folder).rglob("*.py"))


def long_files(root: Path) -> Iterator[str]:
    """Nobody holds more than this in mind at once."""
    for file in python_files(root):
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES_MAX:
            yield f"{file.relative_to(root)}: {lines} lines"


def long_functions(root: Path) -> Iterator[str]:
    """From `def` to the last line, docstring included: what a reader must scroll."""
    for file in python_files(root):
        for node in ast.walk(parse(file)):
            if not isinstance(node, FUNCTIONS):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{at(root, file, node)}: {lines} lines"


def orphans(root: Path) -> Iterator[str]:
    """Files of src that nothing imports, and that no entry point names."""
    source = root / "src"
    modules = {dotted(file, source): file for file in python_files(root, "src")}
    used = set(entry_points(root))
    for file in modules.values():
        used.update(name for name in imported(file, source) if name != dotted(file, source))
    for module, file in modules.items():
        if file.name != "__init__.py" and module not in used and not module.startswith(DOORS):
            yield f"{file.relative_to(root)}: nothing imports it"


def notes_to_self(root: Path) -> Iterator[str]:
    """Markers of unfinished work: finish it, or open an issue."""
    for file, line, comment in comments(root):
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment):
            yield f"{file}:{line}: {comment}"


def undocumented(root: Path) -> Iterator[str]:
    """Modules, and public classes, functions and methods, that do not say what they are for."""
    for file in python_files(root, "src"):
        tree = parse(file)
        if tree.body and ast.get_docstring(tree) is None:
            yield f"{file.relative_to(root)}: the module has no docstring"
        for node in public_definitions(tree):
            if ast.get_docstring(node) is None:
                yield f"{at(root, file, node)} has no docstring"


def sleeps(root: Path) -> Iterator[str]:
    """`time.sleep` stops an event loop, and a test that sleeps is slow and wrong by turns."""
    for file in python_files(root, "src", "tests"):
        if file.relative_to(root).as_posix() in MAY_SLEEP:
            continue
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.Call):
                asleep = ast.unparse(node.func) == "time.sleep"
            elif isinstance(node, ast.ImportFrom):
                asleep = node.module == "time" and any(alias.name == "sleep" for alias in node.names)
            else:
                continue
            if asleep:
                yield f"{file.relative_to(root)}:{node.lineno}: pass a clock, or wait for an event"


def own_watches(root: Path) -> Iterator[str]:
    """Who reads the time himself cannot be tested with another one (rule C-46 of the conformance suite).

    The event loop's own time is no clock of ours: it bounds what real work may take, such as waiting for a lock.
    """
    for file in python_files(root, *(f"src/waystation/{room}" for room in ENGINE)):
        if file.relative_to(root).as_posix() in MAY_READ_TIME:
            continue
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.Call):
                reads = re.fullmatch(
                    r"time\.(time|monotonic|perf_counter)(_ns)?|(datetime\.)?datetime\.(now|utcnow|today)",
                    ast.unparse(node.func),
                )
            elif isinstance(node, ast.ImportFrom):
                reads = re.fullmatch("time", node.module or "")
            else:
                continue
            if reads:
                yield f"{file.relative_to(root)}:{node.lineno}: ask the clock that was passed in"


def vague_limits(root: Path) -> Iterator[str]:
    """Constants of limits.py without a unit in the name, or without a reason above."""
    file = root / "src/waystation/_core/limits.py"
    if not file.exists():
        return
    lines = file.read_text(encoding="utf-8").splitlines()
    for node in parse(file).body:
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if not isinstance(target, ast.Name) or not target.id.isupper():
            continue
        if not UNITS & set(target.id.split("_")):
            yield f"{at(root, file, node)}: {target.id} does not say its unit"
        if not lines[node.lineno - 2].startswith("#"):
            yield f"{at(root, file, node)}: {target.id} has no reason above it"


def vague_ignores(root: Path) -> Iterator[str]:
    """Silenced type errors without a code, or without a reason."""
    for file, line, comment in type_ignores(root):
        if not re.search(r"ignore\[[\w, -]+\]\s+# \w", comment):
            yield f"{file}:{line}: write `type: ignore[code]  # reason`, not {comment!r}"


def type_ignores(root: Path) -> Iterator[tuple[Path, int, str]]:
    """Where a type checker is told to look away."""
    for file, line, comment in comments(root):
        if re.match(r"#\s*(type|pyright):\s*ignore", comment) and file.parts[:2] != ("tests", "typing"):
            yield file, line, comment


def comments(root: Path) -> Iterator[tuple[Path, int, str]]:
    """Comments as the tokenizer sees them, so that a string that looks like one is none."""
    for file in python_files(root):
        for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.COMMENT:
                yield file.relative_to(root), token.start[0], token.string


def public_definitions(parent: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Definitions that others may use; an overload and a setter are documented by their first form."""
    for node in parent.body:
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if any(ast.unparse(mark).endswith(("overload", ".setter")) for mark in node.decorator_list):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from public_definitions(node)


def imported(file: Path, source: Path) -> Iterator[str]:
    """Dotted names that a file imports, or spells out in a string for `import_module` or a subprocess."""
    package = file.relative_to(source).parent.parts
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def entry_points(root: Path) -> Iterator[str]:
    """Modules that pyproject.toml names, and every `__main__`."""
    project = root / "pyproject.toml"
    if project.exists():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        groups = [table.get("scripts", {}), *table.get("entry-points", {}).values()]
        yield from (target.partition(":")[0] for group in groups for target in group.values())
    yield from (dotted(file, root / "src") for file in (root / "src").rglob("__main__.py"))


def dotted(file: Path, source: Path) -> str:
    return ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def at(root: Path, file: Path, node: ast.stmt) -> str:
    return f"{file.relative_to(root)}:{node.lineno}: {getattr(node, 'name', '')}".rstrip(": ")


Rule = Callable[[Path], Iterator[str]]
RULES: list[Rule] = [
    *(long_files, long_functions, orphans, notes_to_self),
    *(undocumented, sleeps, own_watches, vague_limits, vague_ignores),
]


@pytest.mark.parametrize("rule", RULES)
def test_the_house_is_tidy(rule: Rule) -> None:
    assert not list(rule(ROOT)), rule.__doc__


def test_type_ignores_only_become_fewer() -> None:
    found = [f"{file}:{line}" for file, line, _ in type_ignores(ROOT)]
    assert len(found) <= TYPE_IGNORES_MAX, found


LIMITS = "_core/limits.py"


@pytest.mark.parametrize(
    ("rule", "file", "code"),
    [
        (long_files, "__init__.py", "x = 1\n" * 601),
        (long_functions, "__init__.py", "class A:\n  async def f(self):\n" + "    x = 1\n" * 60),
        (orphans, "lonely.py", ""),
        (notes_to_self, "__init__.py", "x = 1  # TODO: two"),
        (undocumented, "__init__.py", "x = 1"),
        (undocumented, "__init__.py", '"""M."""\nclass A:\n  """A."""\n  def f(self): ...'),
        (sleeps, "__init__.py", "import time\ntime.sleep(1)"),
        (sleeps, "__init__.py", "from time import sleep"),
        (own_watches, "_store/log.py", "import time\ntime.time()"),
        (own_watches, "_core/topic.py", "from time import monotonic"),
        (own_watches, "_runtime/bus.py", "from datetime import datetime\ndatetime.now()"),
        (vague_limits, LIMITS, "# Why.\nPATIENCE = 3"),
        (vague_limits, LIMITS, "x = 1\nWAIT_S: float = 3"),
        (vague_ignores, "__init__.py", "x = 1  # type: ignore"),
        (vague_ignores, "__init__.py", "x = 1  # type: ignore[misc]"),
    ],
)
def test_a_planted_mess_is_found(tmp_path: Path, rule: Rule, file: str, code: str) -> None:
    plant(tmp_path, file, code)
    assert len(list(rule(tmp_path))) == 1


@pytest.mark.parametrize("rule", RULES)
def test_a_tidy_file_passes(tmp_path: Path, rule: Rule) -> None:
    plant(tmp_path, "__init__.py", '"""M."""\nfrom ._core import limits\ndef f():\n  """F."""\ndef _g(): ...')
    plant(tmp_path, LIMITS, '"""L."""\n# Why.\nWAIT_S = 3\nx = f()  # type: ignore[misc]  # because')
    assert not list(rule(tmp_path))


def plant(root: Path, file: str, code: str) -> None:
    """Write one file of a package that has little else."""
    path = root / "src/waystation" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")
