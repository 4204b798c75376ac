"""Which model answers: the one that assumes no more than what is known of a queue."""

from __future__ import annotations

from .batches import BatchLaw, mxmc
from .general import ggc
from .markov import loss, mmc, mmck
from .result import Queue
from .single import mg1
from .trust import ModelError


def queue(
    arrivals_per_s: float,
    service_s: float,
    servers: int = 1,
    *,
    arrival_cv2: float = 1.0,
    service_cv2: float = 1.0,
    batch: float = 1.0,
    batch_law: BatchLaw = "fixed",
    places: int | None = None,
) -> Queue:
    """Return what is known of a queue, from the strongest model that fits what is given of it.

    M/M/c if nothing but rates and consumers are given; M/G/1 (with M/D/1) for one consumer, G/G/c for several, if the
    coefficients of variation are; M/M/c/K with a limit of places, or Erlang's loss system if none of them is for
    waiting; M^X/M/c for arrivals in batches. `Queue.model` says which it was, `Queue.trust` how far to trust it.

    Args:
        arrivals_per_s: Messages that come per second.
        service_s: Mean seconds that the handling of one takes.
        servers: Consumers, or handlers that run at the same time.
        arrival_cv2: Squared coefficient of variation of the time between arrivals: 1 independent, 0 a clock.
        service_cv2: The same of the handling time: 1 exponential, 0 constant.
        batch: Mean number of messages that come at once.
        batch_law: Whether batches are all alike, or geometric.
        places: Messages taken in at most, those being handled included.

    Raises:
        ModelError: A number that is none of what it stands for, a combination that no model here covers, or more
            work than the servers can do.
    """
    if batch != 1:
        if (arrival_cv2, service_cv2, places) != (1, 1, None):
            raise ModelError(
                "batches are modelled for exponential handling times and room for all",
                found="arrival_cv2, service_cv2 or places were given too",
                instead=f"leave them out, or describe the bursts by arrival_cv2={batch:g}",
            )
        return mxmc(arrivals_per_s, service_s, servers, batch=batch, law=batch_law)
    if places is not None:
        if places == servers and arrival_cv2 == 1:
            return loss(arrivals_per_s, service_s, servers, service_cv2=service_cv2)
        if (arrival_cv2, service_cv2) != (1, 1):
            raise ModelError(
                "a limit of places is modelled for independent arrivals and exponential handling times",
                found="arrival_cv2 or service_cv2 were given too",
                instead="leave them out, or give as many places as servers, or no limit",
            )
        return mmck(arrivals_per_s, service_s, servers, places)
    if arrival_cv2 == service_cv2 == 1:
        return mmc(arrivals_per_s, service_s, servers)
    if arrival_cv2 == 1 and servers == 1:
        return mg1(arrivals_per_s, service_s, service_cv2=service_cv2)
    return ggc(arrivals_per_s, service_s, servers, arrival_cv2=arrival_cv2, service_cv2=service_cv2)
