"""The lease keeper: renews what a subscription holds, whatever its handlers do, and lets go of what it has lost.

A lease ends while its holder lives only if the holder was not there for some seconds: a stopped process, a loop that
stood still, a clock that was moved. Somebody else may have the messages by then. So those that wait are forgotten, and
a handler that has one is cancelled: its transaction is rolled back, and nothing that it did is settled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from .._core.delivery import Delivery
from .._core.errors import SettlementLost
from .._core.limits import LEASE_RENEWAL_S
from .._core.ports import Clock, Feed
from .._core.retry import describe
from .lanes import Lanes

_log = logging.getLogger("waystation.consumer")


class LeaseKeeper:
    """Keeps one subscription's leases.

    Args:
        feed: The feed that is open now, if one is.
        unsettled: Every delivery that was received and is not settled.
        on_loss: Called when some of them were let go of.
        name: The subscription, for the log.
    """

    def __init__(
        self,
        lanes: Lanes,
        clock: Clock,
        *,
        feed: Callable[[], Feed | None],
        unsettled: Callable[[], Sequence[Delivery]],
        on_loss: Callable[[], object],
        name: str,
    ) -> None:
        self._lanes = lanes
        self._clock = clock
        self._feed = feed
        self._unsettled = unsettled
        self._on_loss = on_loss
        self._name = name

    async def run(self) -> None:
        """Renew, until cancelled."""
        while True:
            await self._clock.sleep(LEASE_RENEWAL_S)
            feed, unsettled = self._feed(), self._unsettled()
            if not unsettled or feed is None:
                continue
            try:
                await feed.extend(unsettled)
            except SettlementLost as error:
                self._lost(error)
            except Exception as error:  # noqa: BLE001 - tried again at the next renewal; settling tells the rest
                _log.debug("%s: renewing leases failed: %s", self._name, describe(error))

    def _lost(self, error: SettlementLost) -> None:
        cancelled = self._lanes.lose(error)
        _log.warning(
            "%s: a lease had ended: %s; %d handlers were cancelled",
            self._name,
            error,
            cancelled,
            extra={"subscription": self._name},
        )
        self._on_loss()
