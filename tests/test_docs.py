"""What the documents show, runs: each snippet is a test, and each link leads somewhere.

Every ```python block of README.md and docs/ runs as a script of its own in an empty directory. A comment on
the line above a block says otherwise:

    <!-- test: skip REASON -->      do not run it; the reason is reported
    <!-- test: continues -->        run it after the block of the same language before it, as one script
    <!-- test: file shop.py -->     save it for the blocks that follow in this document, and import it once
    <!-- test: run -->              (```console) run its `$ ` lines; each must succeed, and output that is
                                    shown must match, where `...` stands for anything

Comments of Markdown do not show, so a reader sees only the snippet.
"""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from waystation._servers.desk import down

ROOT = Path(__file__).parent.parent
SNIPPET_S = 60

FENCE = re.compile(
    r"^(?:<!-- test: (?P<word>\w+) ?(?P<rest>[^\n]*?) ?-->\n+)?"
    r"^```(?P<language>python|console)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
DIRECTIVE = re.compile(r"^<!-- test: .*-->$", re.MULTILINE)
LINK = re.compile(
    r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)|<(?:img|a)[^>]+(?:src|href)=\"([^\"]+)\"|!\[[^\]]*\]\(([^)\s]+)\)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One block, with the code of the blocks that it continues, and the files saved above it."""

    place: str
    language: str
    word: str
    rest: str
    code: str
    files: tuple[tuple[str, str], ...]


def documents(root: Path) -> list[Path]:
    """What a reader is led through; the other papers at the root hold no snippets, but links."""
    return [file for file in (root / "README.md", *sorted(root.glob("docs/**/*.md"))) if file.exists()]


def snippets(document: Path, root: Path) -> Iterator[Snippet]:
    """The blocks of a document in order; a directive that is misspelt is an error, not a comment."""
    text = document.read_text(encoding="utf-8")
    before = {"python": "", "console": ""}
    files: tuple[tuple[str, str], ...] = ()
    found = list(FENCE.finditer(text))
    for match in found:
        word, rest, language, code = (match[name] or "" for name in ("word", "rest", "language", "code"))
        place = f"{document.relative_to(root)}:{text.count(chr(10), 0, match.start('code'))}"
        if word not in {"", "skip", "continues", "file", "run"}:
            msg = f"{place}: no such directive: {word}"
            raise ValueError(msg)
        if word == "file":
            files = (*files, (rest, code))
        whole = before[language] + code if word == "continues" else code
        before[language] = whole
        yield Snippet(place=place, language=language, word=word, rest=rest, code=whole, files=files)
    if len(DIRECTIVE.findall(text)) != sum(1 for match in found if match["word"]):
        msg = f"{document.name}: a test directive stands above no block"
        raise ValueError(msg)


def run(snippet: Snippet, directory: Path) -> None:
    """Run a snippet as its reader would, and fail as it does."""
    for name, code in snippet.files:
        (directory / name).write_text(code, encoding="utf-8")
    if snippet.language == "console":
        try:
            run_console(snippet.code, directory)
        finally:  # a reader who is stopped half-way would do that too
            for file in directory.rglob("waystation-server.json"):
                down(file.parent)
    elif snippet.word == "file":
        execute(f"{sys.executable} -W error -c 'import {Path(snippet.rest).stem}'", directory)
    else:
        (directory / "snippet.py").write_text(snippet.code, encoding="utf-8")
        execute(f"{sys.executable} -W error snippet.py", directory)


def run_console(session: str, directory: Path) -> None:
    """Each `$ ` line must succeed; what is shown below it must match."""
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, shown = part.replace("\\\n> ", "").partition("\n")
        output = execute(command, directory)
        if shown.strip() and not matches(shown, output):
            pytest.fail(f"$ {command}\n--- shown\n{shown}\n--- printed\n{output}", pytrace=False)


def matches(shown: str, printed: str) -> bool:
    """Compare as doctest does: `...` is anything, and runs of blanks are one."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(shown.strip() + "\n", printed.strip() + "\n", flags)


def execute(command: str, directory: Path) -> str:
    """Run a shell command with our interpreter first on the path, and return what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"}
    # As for a reader who has installed it: here the package may be older than its folder.
    environment["PYTEST_PLUGINS"] = "waystation.testing.plugin"
    done = subprocess.run(
        command,
        check=False,
        shell=True,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SNIPPET_S,
    )
    if done.returncode != 0:
        pytest.fail(f"$ {command}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


def broken_links(root: Path) -> Iterator[str]:
    """Relative links to files and headings that are not there."""
    for document in {*documents(root), *root.glob("*.md")}:
        prose = re.sub(
            r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
        )
        for target in ("".join(groups) for groups in LINK.findall(prose)):
            path, _, heading = target.partition("#")
            file = document.parent / path if path else document
            if re.match(r"[a-z]+:", target) or (file.exists() and (not heading or heading in headings(file))):
                continue
            yield f"{document.relative_to(root)}: {target}"


def headings(file: Path) -> set[str]:
    """The anchors that a Markdown file offers, spelt as forges spell them."""
    titles = re.findall(r"^#+ +(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


ALL = [snippet for document in documents(ROOT) for snippet in snippets(document, ROOT)]


@pytest.mark.timeout(2 * SNIPPET_S)
@pytest.mark.parametrize("snippet", [pytest.param(snippet, id=snippet.place) for snippet in ALL])
def test_a_snippet_runs(snippet: Snippet, tmp_path: Path) -> None:
    if snippet.word == "skip":
        assert snippet.rest, "a skipped snippet gives a reason"
        pytest.skip(snippet.rest)
    if snippet.language == "console" and snippet.word not in {"run", "continues"}:
        pytest.skip("a console block is for reading unless it is marked `test: run`")
    run(snippet, tmp_path)


def test_links_lead_somewhere() -> None:
    assert not list(broken_links(ROOT))


DOCUMENT = """
# A title
<!-- test: file shop.py -->
```python
tea = 9.5
```
<!-- test: run -->
```console
$ python -c 'import shop; print("tea", shop.tea, "at", id(shop))'
tea 9.5 at ...
```
```python
import shop
```
<!-- test: continues -->
```python
assert shop.tea == 9.5
```
[here](#a-title) [there](README.md#a-title)
"""


def written(root: Path, text: str) -> Path:
    (root / "README.md").write_text(text, encoding="utf-8")
    return root / "README.md"


def run_all(several: Iterable[Snippet], directory: Path) -> None:
    for snippet in several:
        run(snippet, directory)


def test_the_conventions_hold(tmp_path: Path) -> None:
    run_all(snippets(written(tmp_path, DOCUMENT), tmp_path), tmp_path)
    assert not list(broken_links(tmp_path))


@pytest.mark.parametrize(
    ("right", "wrong"), [("== 9.5", "== 9.6"), ("tea 9.5 at", "tea 9.6 at"), ("tea = 9.5", "import milk")]
)
def test_a_snippet_that_rots_is_noticed(tmp_path: Path, right: str, wrong: str) -> None:
    rotten = list(snippets(written(tmp_path, DOCUMENT.replace(right, wrong)), tmp_path))
    with pytest.raises(pytest.fail.Exception):
        run_all(rotten, tmp_path)


@pytest.mark.parametrize(("right", "wrong"), [("(#a-title)", "(#title)"), ("(README.md", "(READ.md")])
def test_a_link_that_breaks_is_noticed(tmp_path: Path, right: str, wrong: str) -> None:
    written(tmp_path, DOCUMENT.replace(right, wrong))
    assert len(list(broken_links(tmp_path))) == 1


@pytest.mark.parametrize("wrong", ["<!-- test: skpi why -->\n```python\n```", "<!-- test: run -->\nWords."])
def test_a_misplaced_directive_is_noticed(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match="directive"):
        list(snippets(written(tmp_path, wrong), tmp_path))
