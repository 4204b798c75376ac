"""Facts about a transport, and refusals in words."""

from dataclasses import fields
from typing import get_args

import pytest

from waystation._core.capabilities import MEANING, Capabilities, Need
from waystation._core.delivery import Durability
from waystation._core.errors import UnsupportedCapability

LEAST = Capabilities(name="pigeon", send=Durability.SENT)


def test_every_need_is_a_fact_with_a_meaning() -> None:
    facts = {field.name for field in fields(Capabilities)} - {"name", "send", "message_bytes_max"}
    assert set(get_args(Need)) == set(MEANING) == facts


@pytest.mark.parametrize("need", sorted(MEANING))
def test_a_fact_that_is_missing_is_refused_in_a_sentence(need: Need) -> None:
    with pytest.raises(UnsupportedCapability) as caught:
        LEAST.require(need, by="publish(delay=...)")
    assert str(caught.value).startswith(
        f"publish(delay=...) needs a transport that {MEANING[need]}; 'pigeon' does not"
    )
    assert (caught.value.capability, caught.value.transport) == (need, "pigeon")


def test_a_fact_that_is_there_is_not() -> None:
    Capabilities(name="x", send=Durability.SENT, groups=True).require("groups", by="a group")


@pytest.mark.parametrize("reached", Durability)
@pytest.mark.parametrize("wanted", Durability)
def test_a_durability_is_refused_if_it_cannot_be_reached(reached: Durability, wanted: Durability) -> None:
    capabilities = Capabilities(name="x", send=reached)
    if wanted <= reached:
        capabilities.require_durability(wanted, by="publish(require=...)")
    else:
        with pytest.raises(UnsupportedCapability, match=f"{wanted.name}; 'x' reaches {reached.name}"):
            capabilities.require_durability(wanted, by="publish(require=...)")


def test_all_facts_are_shown_as_text() -> None:
    facts = LEAST.facts()
    assert facts["send"] == "SENT"
    assert facts["groups"] == "False"
    assert set(facts) == {field.name for field in fields(Capabilities)}
