"""Claims: what is not claimed is refused, what is claimed is there."""

from __future__ import annotations

import pytest

from ..._core.capabilities import FACTS
from ..._core.errors import UnsupportedCapability
from ..._core.inspection import Inspector, Roster
from ..._core.ports import Transactional
from .rules import rule
from .world import Suite


class Claiming(Suite):
    """C-44."""

    @rule(44)
    async def test_c44_what_is_not_claimed_is_refused_in_a_sentence(self) -> None:
        """With the fact, the transport and the way out; before and after it was opened."""
        async with self.world() as world:
            capabilities = world.transport.capabilities
            for need, fact in FACTS.items():
                if capabilities.support(need) != "refused":
                    continue
                with pytest.raises(UnsupportedCapability) as caught:
                    capabilities.require(need, by="a subscription")
                assert (caught.value.capability, caught.value.transport) == (need, capabilities.name)
                assert fact.instead in str(caught.value)

    @rule(44)
    async def test_c44_what_is_claimed_can_be_called_and_the_rest_cannot(self) -> None:
        """Nobody finds methods of a capability that its transport does not claim; or finds that they refuse."""
        async with self.world() as world:
            transport, capabilities = world.transport, world.transport.capabilities
            assert isinstance(transport, Transactional) or not capabilities.transactions
            assert isinstance(transport, Inspector) or not capabilities.inspectable
            assert isinstance(transport, Roster) or not capabilities.members
            if isinstance(transport, Transactional) and not capabilities.transactions:
                with pytest.raises(UnsupportedCapability):
                    await transport.begin(flush=True)
            if isinstance(transport, Inspector) and not capabilities.inspectable:
                with pytest.raises(UnsupportedCapability):
                    await transport.groups()
            if isinstance(transport, Roster) and not capabilities.members:
                with pytest.raises(UnsupportedCapability):
                    await transport.members()
