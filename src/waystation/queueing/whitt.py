"""The share of messages that have to wait in G/G/c, approximately.

Erlang's C, corrected for arrivals and handling times that vary otherwise than in M/M/c, by normal approximations of how
many servers are busy (Whitt, Approximations for the GI/G/m Queue, Production and Operations Management 2, 1993, §2.2,
whose notation is kept). For Poisson arrivals it is Erlang's C itself, and so the right one with one server.
"""

from __future__ import annotations

import math

#: From here on a normal tail is taken from its asymptotic series, which has ten right digits; `erfc` ends at 38.
_SERIES_FROM = 20.0


def waiting_share(
    delayed: float, utilisation: float, servers: int, arrivals: float, handling: float
) -> float:
    """Return the share that has to wait.

    Args:
        delayed: Erlang's C for the same load.
        arrivals: Squared coefficient of variation of the time between arrivals.
        handling: The same of the handling time; not zero if `arrivals` is.
    """
    if arrivals == 1 or delayed == 0:
        return delayed
    apart = (1 - utilisation) * math.sqrt(servers)
    variation = (arrivals + handling) / (1 + handling)
    spare = (servers * (1 - utilisation) - 0.5) / math.sqrt(servers * utilisation * variation)
    heavy = _corrected(delayed, apart, apart / variation)
    light = _corrected(delayed, apart, 2 * apart / (1 + arrivals))
    first = utilisation**2 * heavy + (1 - utilisation**2) * light
    if servers <= 6 or spare <= 0.5 or arrivals >= 1:
        return min(1.0, first)
    second = arrivals * first + (1 - arrivals) * math.exp(_log_above(spare))
    if spare >= 1:
        return min(1.0, second)
    between = 2 * (1 - arrivals) * (spare - 0.5)
    return min(1.0, between * second + (1 - between) * first)


def _corrected(delayed: float, before: float, after: float) -> float:
    """Return C·(1 − Φ(after)) / (1 − Φ(before)), at most 1."""
    return math.exp(min(0.0, math.log(delayed) + _log_above(after) - _log_above(before)))


def _log_above(deviations: float) -> float:
    """Return ln(1 − Φ(x))."""
    if deviations < _SERIES_FROM:
        return math.log(math.erfc(deviations / math.sqrt(2)) / 2)
    square = deviations * deviations
    series = 1 - 1 / square + 3 / square**2 - 15 / square**3
    return -square / 2 - math.log(deviations * math.sqrt(2 * math.pi)) + math.log(series)
