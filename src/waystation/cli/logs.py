"""Where log lines go when the command line runs a program: the library itself installs no handler."""

from __future__ import annotations

import logging
import time
from enum import StrEnum
from typing import Any

import msgspec

from waystation._core.duration import rfc3339

#: What every record has; anything else on it came by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """Which log lines are written: these and graver ones."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ConsoleFormatter(logging.Formatter):
    """`10:04:05 WARNING waystation.supervisor [1234] process 2 …`: local time, the logger, the process."""

    default_time_format = "%H:%M:%S"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s [%(process)d] %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's
        """Return the time of day, to the millisecond."""
        moment = time.strftime(datefmt or self.default_time_format, time.localtime(record.created))
        return f"{moment}.{int(record.msecs):03d}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with what `extra` brought beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON. What JSON does not know is written as text."""
        line: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        return msgspec.json.encode(extra | line, enc_hook=str).decode()


def log_to_stderr(level: LogLevel, style: LogFormat) -> None:
    """Write log lines of this process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style is LogFormat.JSON else ConsoleFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
