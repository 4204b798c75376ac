"""Settlements and durability are values."""

from itertools import pairwise

from waystation._core.delivery import ACCEPT, RELEASE, Accept, DeadLetter, Durability, Receipt, Release, Retry


def test_durability_is_ordered_weakest_first() -> None:
    assert all(weaker < stronger for weaker, stronger in pairwise(Durability))
    assert next(iter(Durability)) is Durability.SENT


def test_durability_reads_as_its_name() -> None:
    assert f"{Durability.FLUSHED} {Durability.FLUSHED!s:>8}" == "FLUSHED  FLUSHED"
    assert "%s" % Durability.SENT == "SENT"  # noqa: UP031 - as logging does


def test_settlements_are_equal_by_what_they_say() -> None:
    assert (Accept(), Release()) == (ACCEPT, RELEASE)
    assert Retry(1.0) == Retry(1.0, "")
    assert len({ACCEPT, Accept(), Retry(1.0), DeadLetter("no"), RELEASE}) == 4


def test_a_receipt_is_no_duplicate_unless_it_says_so() -> None:
    assert not Receipt("m-1", Durability.FLUSHED).duplicate
