"""The checkers of the surroundings find growth without end, and credentials in texts."""

from __future__ import annotations

import base64

import pytest

from waystation.testing.checkers import Sample, resources, secrets

MIB = 1024 * 1024


def samples(*mib: float, descriptors: int = 5) -> list[Sample]:
    return [Sample(at, round(size * MIB), descriptors, 3) for at, size in enumerate(mib)]


def test_warming_up_and_swinging_is_no_growth() -> None:
    assert resources(samples(10, 40, 50, 52, 49, 55, 50, 53), growth_bytes_max=8 * MIB) == []


def test_growth_is_found() -> None:
    (found,) = resources(samples(*range(10, 90, 10)), growth_bytes_max=8 * MIB)
    assert "bytes of memory" in found


def test_descriptors_that_are_never_closed_are_found() -> None:
    leaking = [Sample(at, MIB, at * 2, 1) for at in range(12)]
    (found,) = resources(leaking, growth_bytes_max=MIB)
    assert "descriptors" in found


def test_a_few_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="7 samples"):
        resources(samples(1, 2, 3, 4, 5, 6, 7), growth_bytes_max=1)


SECRET = "s3cret/pass word+"


@pytest.mark.parametrize(
    "text",
    [
        f"amqp://user:{SECRET}@host",
        "amqp://user:s3cret%2Fpass%20word%2B@host",
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"ab{SECRET}xyz".encode()).decode(),
        base64.b64encode(f"a{SECRET}xyz".encode()).decode(),
    ],
)
def test_a_credential_is_found_however_it_is_written(text: str) -> None:
    (found,) = secrets([("fine.log", "nothing"), ("worker.log", f"... {text} ...")], [SECRET, "other-canary"])
    assert found == "a credential (s3...) is in worker.log"


def test_a_text_without_credentials_is_clean() -> None:
    assert secrets([("worker.log", "amqp://user:***@host")], [SECRET]) == []
