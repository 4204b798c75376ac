import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from waystation._core.ports import Timer
from waystation._runtime.reload import changes, differences, snapshot


def test_python_files_are_seen_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "shop.py")
    write(tmp_path / "parts" / "deep" / "part.py")
    write(tmp_path / "notes.txt")
    assert sorted(snapshot([tmp_path])) == [str(tmp_path / "parts/deep/part.py"), str(tmp_path / "shop.py")]


def test_hidden_folders_and_other_peoples_code_are_left_out(tmp_path: Path) -> None:
    for folder in (".venv", "__pycache__", "node_modules", "lib/site-packages"):
        write(tmp_path / folder / "module.py")
    assert snapshot([tmp_path]) == {}


def test_changed_added_and_removed_files_differ() -> None:
    before = {"same.py": 1, "changed.py": 1, "removed.py": 1}
    after = {"same.py": 1, "changed.py": 2, "added.py": 1}
    assert differences(before, after) == ["added.py", "changed.py", "removed.py"]


async def test_each_change_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    write(file)
    stamps = iter((1, 1, 1, 2))

    def touch() -> None:
        stamp = next(stamps)
        os.utime(file, ns=(stamp, stamp))

    seen = changes([tmp_path], Ticking(touch))
    assert await anext(seen) == [str(file)]  # the first tick gives the file its stamp 1
    assert await anext(seen) == [str(file)]  # and only the fourth another one
    await seen.aclose()


class Ticking:
    """A clock whose every wait ends at once, after doing something."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick

    def time(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        self._tick()
        await asyncio.sleep(0)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        raise NotImplementedError


def write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x = 1")
