"""The vectors for other languages are what this code does, and cover what it can do."""

from __future__ import annotations

import json

import pytest

from tests.wire import vectors
from waystation._wire.frames import CODES

VECTORS = json.loads(vectors.FILE.read_text(encoding="utf-8"))


def test_the_file_is_up_to_date() -> None:
    assert vectors.FILE.read_text(encoding="utf-8") == vectors.text(), "python -m tests.wire.vectors"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_vector_is_what_its_bytes_mean(vector: dict[str, object]) -> None:
    data = bytes.fromhex(str(vector["bytes"]))
    if "error" in vector:
        assert vectors.error(data) == vector["error"]
    else:
        assert vectors.heard(data) == vector["frames"]


def test_they_cover_every_frame_and_every_code() -> None:
    frames = [frame for vector in VECTORS for frame in vector.get("frames", [])]
    assert {frame["type"] for frame in frames} == set(CODES)
    assert {vector["error"]["code"] for vector in VECTORS if "error" in vector} == {"protocol", "limit"}
    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS)


def test_bytes_that_are_not_refused_are_no_error() -> None:
    with pytest.raises(AssertionError, match="not refused"):
        vectors.error(b"")
