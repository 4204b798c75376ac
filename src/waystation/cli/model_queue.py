"""`waystation model load`, `queue` and `size`: how busy, how long, how many consumers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from waystation.queueing import (
    Delay,
    Queue,
    Retries,
    Step,
    failures_survived,
    offered_load,
    parse_count,
    parse_rate,
    queue,
    servers_for,
    show,
)

from . import model_pictures
from .model_options import (
    ArrivalsVary,
    Attempts,
    Batch,
    Consumers,
    Fail,
    Plot,
    Rate,
    Time,
    TimeVaries,
    about,
    draw,
    option,
    present,
    taken,
    with_retries,
)
from .parameters import AsJson


def load(
    rate: Rate,
    time: Time,
    *,
    consumers: Annotated[
        int | None,
        typer.Option("--consumers", "-c", metavar="N", help="How busy so many are.", show_default=False),
    ] = None,
    fail: Fail = None,
    attempts: Attempts = 5,
    as_json: AsJson = False,
) -> None:
    """Offered load: what arrives, times what each takes, which is the number of consumers that it keeps busy.

    Example: `waystation model load --rate 2k/s --time 35ms --consumers 80 --fail 5%`
    """
    arrivals, retries = with_retries(rate, fail, attempts)
    found = offered_load(arrivals, taken(time))
    steps = (*(retries.steps() if retries else ()), *found.steps(consumers))
    remark = ""
    if consumers is not None and found.erlangs >= consumers:
        remark = f"{consumers:,} consumers fall behind: give at least {found.servers_min:,}"
    elif consumers is not None:
        first = parse_rate(rate, "--rate")
        survived = failures_survived(first, found.service_s, consumers, attempts_max=attempts)
        remark = (
            f"with {attempts} attempts, {show(survived, 'share')} of them may fail before retries alone are too much"
            if survived < 1
            else f"with {attempts} attempts, every one may fail and these consumers still keep up"
        )
    facts: dict[str, object] = {
        "model": found.model,
        "trust": found.trust.value,
        "erlangs": found.erlangs,
        "servers_min": found.servers_min,
        "utilisation": None if consumers is None else found.utilisation(consumers),
        **_retries(retries),
    }
    headline = about(found.model, found.trust, "a definition, with Little's law for its meaning")
    present(headline, steps, as_json=as_json, facts=facts, remark=remark)


def queue_(
    rate: Rate,
    time: Time,
    *,
    consumers: Consumers = 1,
    time_cv2: TimeVaries = 1.0,
    arrival_cv2: ArrivalsVary = 1.0,
    batch: Batch = 1.0,
    places: Annotated[
        str | None,
        option(
            "--places",
            metavar="N",
            text="Taken in at most, those being handled included; others are turned away.",
        ),
    ] = None,
    percentile: Annotated[
        list[float] | None,
        typer.Option(
            "--percentile", "-p", metavar="P", help="Such as 99; may be repeated.", show_default=False
        ),
    ] = None,
    fail: Fail = None,
    attempts: Attempts = 5,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """How long messages wait, and how many: M/M/c, M/G/1, M/D/1, G/G/c, M/M/c/K, Erlang B or batches, by what is given.

    Example: `waystation model queue --rate 2k/s --time 35ms --consumers 80 --plot wait.svg`
    """
    arrivals, retries = with_retries(rate, fail, attempts)
    limit = None if places is None else int(parse_count(places, "--places"))
    service_s = taken(time)

    def at(arrivals_per_s: float) -> Queue:
        return queue(
            arrivals_per_s,
            service_s,
            consumers,
            arrival_cv2=arrival_cv2,
            service_cv2=time_cv2,
            batch=batch,
            places=limit,
        )

    found = at(arrivals)
    wanted = tuple(percentile or (50.0, 90.0, 99.0, 99.9))
    steps = (*(retries.steps() if retries else ()), *found.steps(wanted))
    present(
        about(found.model, found.trust, found.assumes),
        steps,
        as_json=as_json,
        facts={**_queue(found, wanted), **_retries(retries)},
        remark=f"source: {found.source}; holds once the load has been steady for some {show(3 * found.settles_s, 's')}",
    )
    if plot is not None:
        draw(model_pictures.waiting(found, at), plot)


def size(
    wish: Annotated[
        str,
        option("--wish", metavar="WISH", text="What is to be kept: 'p99<200ms', 'mean<50ms', 'wait p99<1s'."),
    ],
    rate: Rate,
    time: Time,
    *,
    time_cv2: TimeVaries = 1.0,
    arrival_cv2: ArrivalsVary = 1.0,
    batch: Batch = 1.0,
    fail: Fail = None,
    attempts: Attempts = 5,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """How many consumers keep a wish: the smallest number for which a percentile, or the mean, stays under its limit.

    Example: `waystation model size --wish 'p99<200ms' --rate 2k/s --time 35ms`
    """
    arrivals, retries = with_retries(rate, fail, attempts)
    service_s = taken(time)
    found = servers_for(wish, arrivals, service_s, arrival_cv2=arrival_cv2, service_cv2=time_cv2, batch=batch)
    answer = Step(
        name="consumers",
        formula=f"smallest c with {found.wish}",
        numbers="",
        value=found.servers,
        unit="",
        trust=found.trust,
    )
    load_ = offered_load(arrivals, service_s).steps()
    facts: dict[str, object] = {
        "model": found.model,
        "trust": found.trust.value,
        "wish": str(found.wish),
        "servers": found.servers,
        "reached_s": found.reached_s,
        "fewer_s": found.fewer_s,
        "utilisation": found.queue.utilisation,
        **_retries(retries),
    }
    remark = (
        f"{found.servers - 1:,} consumers could not keep up at all"
        if found.fewer_s is None
        else f"with {found.servers - 1:,} it would be {show(found.fewer_s, 's')}; one that fails or is restarted is "
        "one that is missing, so add what may be missing at a time"
    )
    steps = (*(retries.steps() if retries else ()), *load_, *found.steps(), answer)
    headline = about(found.model, found.trust, found.queue.assumes)
    present(headline, steps, as_json=as_json, facts=facts, remark=remark)
    if plot is not None:
        draw(model_pictures.sizes(found, _others(found.queue, arrival_cv2, time_cv2, batch)), plot)


def _others(found: Queue, arrival_cv2: float, time_cv2: float, batch: float) -> Callable[[int], Queue]:
    """Return the same queue with another number of consumers."""
    return lambda servers: queue(
        found.arrivals_per_s,
        found.service_s,
        servers,
        arrival_cv2=arrival_cv2,
        service_cv2=time_cv2,
        batch=batch,
    )


def _queue(found: Queue, percentiles: tuple[float, ...]) -> dict[str, object]:
    """Return what scripts read of a queue."""
    return {
        "model": found.model,
        "trust": found.trust.value,
        "assumes": found.assumes,
        "source": found.source,
        "arrivals_per_s": found.arrivals_per_s,
        "service_s": found.service_s,
        "servers": found.servers,
        "places": found.places,
        "erlangs": found.load_erlangs,
        "utilisation": found.utilisation,
        "throughput_per_s": found.throughput_per_s,
        "has_to_wait": found.has_to_wait,
        "lost": found.lost,
        "waiting": found.waiting,
        "in_system": found.in_system,
        "settles_s": found.settles_s,
        "wait_bound_s": found.wait_bound_s,
        "wait": _delay(found.wait, percentiles),
        "sojourn": _delay(found.sojourn, percentiles),
    }


def _delay(delay: Delay, percentiles: tuple[float, ...]) -> dict[str, Any]:
    return {
        "mean_s": delay.mean_s,
        "trust": delay.trust.value,
        "percentiles_s": {f"{each:g}": delay.percentile_s(each) for each in percentiles},
        "percentiles_trust": delay.tail_trust.value,
    }


def _retries(found: Retries | None) -> dict[str, object]:
    if found is None:
        return {}
    return {
        "retries": {
            "amplification": found.amplification,
            "attempts_per_s": found.attempts_per_s,
            "dead_per_s": found.dead_per_s,
        }
    }
