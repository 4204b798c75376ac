import msgspec
import pytest

from waystation import Message
from waystation.cli.output import (
    age,
    body_text,
    body_value,
    cell,
    message_row,
    print_json,
    show_facts,
    show_rows,
    size,
)


def test_a_table_in_a_pipe_is_plain_text_and_never_wraps(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"topic": "orders.placed", "messages": 1234, "note": "x" * 300}], as_json=False, empty="none")
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["topic", "messages", "note"]
    assert row.split() == ["orders.placed", "1,234", "x" * 300]


def test_no_rows_are_a_remark_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], as_json=False, empty="no topics")
    assert capsys.readouterr() == ("", "no topics\n")


def test_no_rows_are_an_empty_list_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], as_json=True, empty="no topics")
    assert capsys.readouterr() == ("[]\n", "")


def test_text_that_looks_like_markup_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"[red]name[/red]": "[bold]x[/bold]"}], as_json=False, empty="")
    show_facts({"[a]": "[/b]"})
    out = capsys.readouterr().out
    assert "[red]name[/red]" in out
    assert "[bold]x[/bold]" in out
    assert "[/b]" in out


def test_json_keeps_values_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"n": 1, "none": None, "text": "ü"})
    assert msgspec.json.decode(capsys.readouterr().out) == {"n": 1, "none": None, "text": "ü"}


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/json", b'{"a": [1]}', {"a": [1]}),
        ("application/cloudevents+json", b"1", 1),
        ("application/msgpack", msgspec.msgpack.encode({"a": 1}), {"a": 1}),
        ("text/plain; charset=utf-8", "tä".encode(), "tä"),
        ("application/octet-stream", b"\xff\x00", "/wA="),
        ("application/json", b"{broken", "{broken"),
    ],
)
def test_a_body_is_shown_as_what_it_is(content_type: str, body: bytes, value: object) -> None:
    assert body_value(Message("1", "t", body, content_type=content_type)) == value


def test_a_body_is_one_line() -> None:
    assert body_text(Message("1", "t", b'{\n  "a": 1\n}')) == '{"a":1}'
    assert body_text(Message("1", "t", b"two\nlines", content_type="text/plain")) == "two\\nlines"


def test_a_message_in_json_has_times_to_read_and_no_empty_attributes() -> None:
    message = Message("1", "t", b"{}", time=1.5, expires_at=2.0)
    assert message_row(message) == {
        "id": "1",
        "topic": "t",
        "body": {},
        "content_type": "application/json",
        "time": "1970-01-01T00:00:01.500Z",
        "expires_at": "1970-01-01T00:00:02.000Z",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (12345, "12,345"), (("a", "b"), "a, b"), ((), "-"), (1.25, "1.2")],
)
def test_cells_are_for_people(value: object, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.25, "250 ms"),
        (3, "3 s"),
        (119, "119 s"),
        (600, "10 min"),
        (7200, "2 h"),
        (1e6, "12 d"),
    ],
)
def test_ages_have_one_unit(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (2048, "2.0 KiB"), (5 * 2**20, "5.0 MiB"), (2**40, "1,024.0 GiB")]
)
def test_sizes_have_one_unit(count: int, text: str) -> None:
    assert size(count) == text


def test_a_body_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    message = Message("1", "t", b"\x1b[2Jgone\x07", content_type="text/plain")
    assert body_text(message) == "\\x1b[2Jgone\\x07"
    show_rows([{"reason": "\x1b[31mred"}], as_json=False, empty="")
    assert "\x1b" not in capsys.readouterr().out
