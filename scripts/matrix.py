"""The conformance matrix as Markdown: what `make conformance` found, transport by rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from waystation.testing.conformance import RULES

FOUND = Path(__file__).parent.parent / "docs" / "measured" / "conformance.json"

#: Columns: the class of the suite that tests a medium, with what a program writes to use it.
COLUMNS = {
    "memory.TestMemory": "`memory`",
    "sqlite.TestSqlite": "`sqlite`",
    "tcp.TestDirect": "`tcp?listen`",
    "tcp.TestServed": "`tcp`",
    "tcp.TestUnix": "`unix`",
    "zmq.TestDirect": "`zmq?listen`",
    "zmq.TestServed": "`zmq+tcp`",
    "zmq.TestIpc": "`zmq+ipc`",
    "amqp.TestRabbitMQ": "`amqp`",
    "kafka.TestKafka": "`kafka`",
    "nats.TestNats": "`nats`",
    "redis.TestRedis": "`redis`",
}

Counts = Mapping[str, int]


def table() -> str:
    """Return the matrix."""
    found: Mapping[str, Mapping[str, Counts]] = json.loads(FOUND.read_text(encoding="utf-8"))
    there = {medium: heading for medium, heading in COLUMNS.items() if medium in found}
    rows = [
        ["", "rule", *there.values()],
        ["---", "---", *(":-:" for _ in there)],
        *(
            [rule.name, rule.title, *(cell(found[medium].get(rule.name, {})) for medium in there)]
            for rule in RULES.values()
        ),
        ["", "tests passed", *(str(total(found[medium])) for medium in there)],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(counts: Counts) -> str:
    """Return what became of one rule on one transport: kept, not claimed, in part, broken, or not looked at."""
    if counts.get("failed"):
        return "**broken**"
    if counts.get("passed"):
        return "in part" if counts.get("skipped") else "✓"
    return "-" if counts.get("skipped") else "?"


def total(rules: Mapping[str, Counts]) -> int:
    """Return how many tests passed."""
    return sum(counts.get("passed", 0) for counts in rules.values())
