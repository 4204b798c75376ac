"""NATS' lines: whatever pieces they come in, they say the same; what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation._core.errors import RemoteProtocolError
from waystation.transports.nats.wire import (
    Msg,
    Reader,
    Said,
    Word,
    header_block,
    publication,
    read_headers,
    status_of,
)

NAMES = st.text("abcdefghijklmnopqrstuvwxyz.-_0123456789", min_size=1, max_size=20)
HEADERS = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12),
    st.text("abcdefghijklmnopqrstuvwxyz =:,/%0123456789", max_size=30).map(str.strip),
    max_size=4,
)
SAID = st.one_of(
    st.builds(
        lambda sid, subject, reply, headers, body: Msg(
            sid, subject.encode(), reply.encode(), header_block(headers), body
        ),
        st.integers(1, 10_000),
        NAMES,
        st.one_of(st.just(""), NAMES),
        HEADERS,
        st.binary(max_size=200),
    ),
    st.sampled_from(
        [Word(b"PING", b""), Word(b"+OK", b""), Word(b"INFO", b'{"a": 1}'), Word(b"-ERR", b"'no'")]
    ),
)


def written(said: Said) -> bytes:
    """Return what a server sends to say this."""
    if isinstance(said, Word):
        return said.name + (b" " + said.text if said.text else b"") + b"\r\n"
    reply = b" " + said.reply if said.reply else b""
    size = len(said.header) + len(said.body)
    if said.header:
        line = b"HMSG %b %d%b %d %d" % (said.subject, said.sid, reply, len(said.header), size)
    else:
        line = b"MSG %b %d%b %d" % (said.subject, said.sid, reply, size)
    return line + b"\r\n" + said.header + said.body + b"\r\n"


@given(st.lists(SAID, max_size=12), st.data())
def test_what_a_server_says_is_heard_in_whatever_pieces_it_comes(
    said: list[Said], data: st.DataObject
) -> None:
    stream = b"".join(map(written, said))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    reader = Reader()
    heard: list[Said] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += reader.feed(stream[start:stop])
    assert heard == said


def test_a_large_payload_is_put_together_once_it_is_here() -> None:
    body = bytes(1_000_000)
    stream = written(Msg(1, b"a", b"", b"", body)) + written(Word(b"PING", b""))
    reader = Reader()
    heard: list[Said] = []
    for start in range(0, len(stream), 65_536):
        heard += reader.feed(stream[start : start + 65_536])
    assert heard == [Msg(1, b"a", b"", b"", body), Word(b"PING", b"")]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"MSG a\r\n",
        b"MSG a b 3\r\n",
        b"MSG a 1 -3\r\n",
        b"HMSG a 1 9 3\r\n",
        b"MSG a 1 99999999999\r\n",
        b"x" * 2_000_000,
    ],
)
def test_what_is_no_line_of_a_server_is_refused(nonsense: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Reader().feed(nonsense)


@given(HEADERS)
def test_headers_are_read_as_they_were_written(headers: dict[str, str]) -> None:
    assert read_headers(header_block(headers)) == headers


def test_a_publication_says_how_long_it_is() -> None:
    assert publication("a.b", "", b"", b"xyz") == b"PUB a.b  3\r\nxyz\r\n"
    head = header_block({"k": "v"})
    assert publication("a", "r", head, b"xy") == b"HPUB a r %d %d\r\n%bxy\r\n" % (
        len(head),
        len(head) + 2,
        head,
    )


@pytest.mark.parametrize(
    ("block", "status"), [(b"NATS/1.0 503\r\n\r\n", 503), (b"NATS/1.0\r\na: b\r\n\r\n", 0), (b"", 0)]
)
def test_a_status_stands_in_the_first_line(block: bytes, status: int) -> None:
    assert status_of(block) == status
