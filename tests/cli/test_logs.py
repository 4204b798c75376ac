import logging
import sys

import msgspec

from waystation.cli.logs import ConsoleFormatter, JsonFormatter


def record(**extra: object) -> logging.LogRecord:
    values = {
        "name": "waystation.run",
        "levelname": "INFO",
        "msg": "hello %s",
        "args": ("you",),
        "created": 1.25,
    }
    return logging.makeLogRecord({**values, "msecs": 250.0, "process": 7, **extra})


def test_a_console_line_has_the_time_the_logger_and_the_process() -> None:
    line = ConsoleFormatter().format(record())
    assert line.endswith(".250 INFO    waystation.run [7] hello you")


def test_a_json_line_has_what_extra_brought() -> None:
    line = msgspec.json.decode(JsonFormatter().format(record(message_id="m-1", odd={1, 2}.__class__)))
    assert line["message"] == "hello you"
    assert line["time"] == "1970-01-01T00:00:01.250Z"
    assert (line["level"], line["pid"], line["message_id"]) == ("info", 7, "m-1")
    assert line["odd"] == "<class 'set'>"


def test_a_json_line_has_the_traceback_inside() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        text = JsonFormatter().format(record(exc_info=sys.exc_info()))
    assert "\n" not in text
    assert "ValueError: broken" in msgspec.json.decode(text)["exception"]
