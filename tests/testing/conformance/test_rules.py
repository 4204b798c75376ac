"""The suite tells what it asks, of whom, and lets no claim go unasked."""

import pytest

from waystation._core.capabilities import FACTS, Capabilities
from waystation.testing import VirtualClock
from waystation.testing.conformance import RULES, TransportConformance, mark_of, marked_tests, rule
from waystation.testing.conformance.world import Suite
from waystation.transports.memory import MemoryTransport

#: Facts that no rule of its own is about, with what shows them.
SHOWN_ELSEWHERE = {
    "persistent": "C-05, C-07, C-21, C-35 and C-37 open the medium a second time",
    "replay": "C-06 begins groups at offsets and times",
}


class Small(Suite):
    url = "memory://"

    @rule(2)
    async def test_c02_claimed(self) -> None:
        pytest.skip("no time")

    @rule(27)
    async def test_c27_not_claimed(self) -> None:
        raise AssertionError("it was asked all the same")

    @rule(1)
    async def test_c01_passes(self, value: int) -> None:
        assert value == 7


def test_the_list_has_every_number_once() -> None:
    assert list(RULES) == list(range(1, len(RULES) + 1))
    assert RULES[7].name == "C-07"


def test_every_fact_is_shown() -> None:
    asked = {need for each in RULES.values() for need in each.needs}
    assert set(FACTS) - asked - SHOWN_ELSEWHERE.keys() <= {"expiry"}, "a claim that no rule is about"


async def test_a_claim_that_is_not_asked_is_a_failure() -> None:
    with pytest.raises(pytest.fail.Exception, match="memory claims what C-02 is about: no time"):
        await Small().test_c02_claimed()


async def test_what_is_not_claimed_is_not_asked() -> None:
    with pytest.raises(pytest.skip.Exception, match="memory does not claim 'transactions'"):
        await Small().test_c27_not_claimed()


async def test_a_test_keeps_its_arguments() -> None:
    await Small().test_c01_passes(7)


def test_a_test_that_says_no_rule_is_refused() -> None:
    async def test(self: Suite) -> None: ...

    with pytest.raises(TypeError, match=r"Mine.test_c05_mine is tied to no rule: write @rule\(5\)"):
        type("Mine", (Suite,), {"test_c05_mine": test})


def test_a_test_of_another_number_is_refused() -> None:
    async def test_c05_mine(self: Suite) -> None: ...

    with pytest.raises(AssertionError, match="is not of C-06"):
        rule(6)(test_c05_mine)


def test_the_suite_lists_its_tests_by_rule() -> None:
    numbers = [mark.rule.number for _, mark in marked_tests(TransportConformance)]
    assert numbers == sorted(numbers)
    assert mark_of(print) is None


def test_the_suite_asks_for_what_a_url_claims() -> None:
    claimed: Capabilities = MemoryTransport(VirtualClock()).capabilities
    assert Small().capabilities == claimed
