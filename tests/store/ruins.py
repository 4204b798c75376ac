"""Where what a crash has left is put on a real disk, opened and compared."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import apsw

from tests.store.crash_states import Image
from tests.store.workload import Found, look
from waystation._store.database import create

#: All that is in the tables of a file, as a digest.
Content: TypeAlias = str


class Ruins:
    """Images, opened by the code that opens any file. What was seen is remembered.

    Args:
        folder: Where they are put, one at a time. The one that a test has failed on stays there.
        read: How to open one and say what is in it.
    """

    def __init__(self, folder: Path, read: Callable[[Path], Content] | None = None) -> None:
        self._folder, self._read = folder, read or content_of
        self._contents: dict[bytes, Content] = {}
        self._images: dict[Content, Image] = {}
        self._found: dict[Content, Found] = {}

    @property
    def count(self) -> int:
        """How many different images were opened."""
        return len(self._contents)

    def content(self, image: Image) -> Content:
        """What is in the tables of an image."""
        digest = hashlib.blake2b(digest_size=16)
        for name, data in sorted(image.items()):
            digest.update(b"%s %d " % (name.encode(), len(data)))
            digest.update(data)
        key = digest.digest()
        if key not in self._contents:
            self._contents[key] = self._read(self.put(image))
            self._images.setdefault(self._contents[key], image)
        return self._contents[key]

    async def found(self, content: Content) -> Found:
        """What a program finds that opens an image with this in its tables, and works with it."""
        if content not in self._found:
            self._found[content] = await look(self.put(self._images[content]))
        return self._found[content]

    def put(self, image: Image) -> Path:
        """Write an image to the disk; return the path of the database."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        for name, data in image.items():
            (self._folder / name).write_bytes(data)
        return self._folder / "bus.db"


def content_of(path: Path) -> Content:
    """Open a file as a program does, check it, and return what is in its tables."""
    create(path)
    connection = apsw.Connection(str(path))
    try:
        assert connection.pragma("integrity_check") == "ok"
        return tables_of(connection)
    finally:
        connection.close()


def tables_of(connection: apsw.Connection) -> Content:
    """Digest all rows of all tables, and their definitions."""
    digest = hashlib.blake2b(digest_size=8)
    schema = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    digest.update(str(schema).encode())
    for name in (name for type_, name, _ in schema if type_ == "table"):
        digest.update(str(connection.execute(f"SELECT * FROM {name}").fetchall()).encode())
    return digest.hexdigest()
