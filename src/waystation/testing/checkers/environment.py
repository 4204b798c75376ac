"""What a run did to the machine, and what it let slip."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from urllib.parse import quote

#: Shorter pieces of Base64 occur by chance.
_FORM_CHARS_MIN = 6


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process used at one moment.

    Attributes:
        at_s: When, on any clock.
        rss_bytes: Memory in use.
        descriptors: Open files and sockets.
        threads: Threads.
    """

    at_s: float
    rss_bytes: int
    descriptors: int = 0
    threads: int = 0


def resources(
    samples: Sequence[Sample],
    *,
    growth_bytes_max: int,
    growth_descriptors_max: int = 4,
    growth_threads_max: int = 2,
) -> list[str]:
    """Find what grows without end.

    The median of the second quarter of a run is held against that of the last: the first quarter is warming up.

    Args:
        samples: Of one process, in order; at least eight.

    Raises:
        ValueError: There are too few to say anything.
    """
    if len(samples) < 8:
        raise ValueError(f"{len(samples)} samples say nothing")
    quarter = len(samples) // 4
    before, after = samples[quarter : 2 * quarter], samples[-quarter:]
    wrong = []
    for what, limit, values in (
        ("bytes of memory", growth_bytes_max, [[s.rss_bytes for s in part] for part in (before, after)]),
        ("descriptors", growth_descriptors_max, [[s.descriptors for s in part] for part in (before, after)]),
        ("threads", growth_threads_max, [[s.threads for s in part] for part in (before, after)]),
    ):
        first, last = (round(median(part)) for part in values)
        if last - first > limit:
            wrong.append(f"from {first:,} to {last:,} {what}: more than {limit:,} of growth")
    return wrong


def secrets(texts: Iterable[tuple[str, str]], planted: Iterable[str]) -> list[str]:
    """Find planted credentials in what was logged, printed or stored: as they are, percent-encoded, and in Base64.

    Args:
        texts: Where a text is from, and the text.
        planted: Credentials that occur nowhere else.
    """
    forms = {form: secret for secret in planted for form in _forms(secret)}
    return [
        f"a credential ({secret[:2]}...) is in {where}"
        for where, text in texts
        for secret in dict.fromkeys(secret for form, secret in forms.items() if form in text)
    ]


def _forms(secret: str) -> Iterable[str]:
    yield secret
    yield quote(secret, safe="")
    # Base64 of something longer has these characters in the middle, whatever comes before: one of three alignments.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).decode().rstrip("=")
        inner = encoded[(shift * 8 + 5) // 6 :]
        inner = inner[:-1] if (shift + len(secret.encode())) % 3 else inner
        if len(inner) >= _FORM_CHARS_MIN:
            yield inner
