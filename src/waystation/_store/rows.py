"""Rows as Python sees them: columns have the types that the schema's STRICT tables keep, which no checker knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

Row = tuple[Any, ...]


def fetch(connection: apsw.Connection, statement: str, bindings: Sequence[Any] = ()) -> list[Row]:
    """Run a statement and return all its rows; the cursor is closed, so it holds nothing in the file."""
    return connection.execute(statement, bindings).fetchall()


def fetch_one(connection: apsw.Connection, statement: str, bindings: Sequence[Any] = ()) -> Row | None:
    """Run a statement and return its first row, or None."""
    cursor = connection.execute(statement, bindings)
    row: Row | None = cursor.fetchone()
    cursor.close()
    return row
