"""Facts about a transport, and refusals in words."""

from dataclasses import fields
from typing import get_args

import pytest

from waystation._core.capabilities import FACTS, Capabilities, Need, check_allowed, check_needs
from waystation._core.delivery import Durability
from waystation._core.errors import ConfigurationError, UnsupportedCapability

LEAST = Capabilities(name="pigeon", send=Durability.SENT)
REFUSED: list[Need] = [need for need in FACTS if LEAST.support(need) == "refused"]


def test_every_need_is_a_fact_with_a_row_in_the_table() -> None:
    facts = {field.name for field in fields(Capabilities)} - {"name", "send", "message_bytes_max"}
    assert set(get_args(Need)) == set(FACTS) == facts


@pytest.mark.parametrize("need", REFUSED)
def test_a_fact_that_is_missing_is_refused_in_a_sentence(need: Need) -> None:
    with pytest.raises(UnsupportedCapability) as caught:
        LEAST.require(need, by="publish(delay=...)")
    assert str(caught.value).startswith(
        f"publish(delay=...) needs a transport that {FACTS[need].meaning}; 'pigeon' does not"
    )
    assert FACTS[need].instead in str(caught.value)
    assert (f"allow=['{need}']" in str(caught.value)) == bool(FACTS[need].accepted)
    assert (caught.value.capability, caught.value.transport) == (need, "pigeon")


def test_a_fact_that_is_there_is_not() -> None:
    Capabilities(name="x", send=Durability.SENT, groups=True).require("groups", by="a group")


def test_a_fact_is_native_or_added_or_refused() -> None:
    assert Capabilities(name="x", send=Durability.SENT, groups=True).support("groups") == "native"
    assert LEAST.support("groups") == "refused"
    assert LEAST.support("expiry") == "added"
    LEAST.require("expiry", by="a handler")


def test_an_unknown_need_is_refused_with_the_nearest_one() -> None:
    check_needs(["persistent", "replay"], what="needs")
    with pytest.raises(ConfigurationError, match="did you mean 'persistent'"):
        check_needs(["persistant"], what="needs")
    with pytest.raises(ConfigurationError, match=r"needs=\['7'\] is nothing .* there are: persistent, "):
        check_needs(["7"], what="needs")
    with pytest.raises(ConfigurationError, match=r"must be a list: needs=\['replay'\]"):
        check_needs("replay", what="needs")


def test_only_what_has_a_consequence_that_can_be_told_may_be_done_without() -> None:
    check_allowed(["ordered_by_key"], ["persistent"])
    with pytest.raises(ConfigurationError, match="this cannot be done without; what can is 'ordered_by_key'"):
        check_allowed(["groups"], [])
    with pytest.raises(ConfigurationError, match="in needs= and in allow="):
        check_allowed(["ordered_by_key"], ["ordered_by_key"])
    with pytest.raises(ConfigurationError, match=r"allow=\['ordered'\] .* did you mean 'ordered_by_key'"):
        check_allowed(["ordered"], [])


@pytest.mark.parametrize("reached", Durability)
@pytest.mark.parametrize("wanted", Durability)
def test_a_durability_is_refused_if_it_cannot_be_reached(reached: Durability, wanted: Durability) -> None:
    capabilities = Capabilities(name="x", send=reached)
    if wanted <= reached:
        capabilities.require_durability(wanted, by="publish(require=...)")
    else:
        with pytest.raises(UnsupportedCapability, match=f"{wanted.name}; 'x' reaches {reached.name}"):
            capabilities.require_durability(wanted, by="publish(require=...)")
