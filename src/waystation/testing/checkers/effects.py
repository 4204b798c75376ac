"""What handlers and transactions left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def effect_once(effects: Iterable[str], *, settled: Iterable[str]) -> list[str]:
    """Find messages whose effect happened twice, or, although they were settled as accepted, never.

    Args:
        effects: The id of the message behind each effect that is there.
        settled: The ids of what was accepted.

    Returns:
        A sentence for each violation.
    """
    counts = Counter(effects)
    twice = [f"{id_} took effect {count} times" for id_, count in sorted(counts.items()) if count > 1]
    return twice + [f"{id_} was accepted without effect" for id_ in sorted(set(settled) - counts.keys())]


def torn(
    rows: Iterable[str], messages: Iterable[str], *, committed: Iterable[str] = (), undone: Iterable[str] = ()
) -> list[str]:
    """Find transactions of which only a part happened.

    Args:
        rows: The ids that the application's table has.
        messages: The ids that were published, one in the same transaction as each row.
        committed: Ids whose commit was confirmed.
        undone: Ids whose transaction was rolled back.
    """
    written, sent = Counter(rows), Counter(messages)
    wrong = [f"{id_} has a row and no message" for id_ in sorted(written.keys() - sent.keys())]
    wrong += [f"{id_} has a message and no row" for id_ in sorted(sent.keys() - written.keys())]
    wrong += [f"{id_} happened {n} times" for id_, n in sorted((written | sent).items()) if n > 1]
    wrong += [
        f"{id_} was committed and is gone" for id_ in sorted(set(committed) - written.keys() - sent.keys())
    ]
    return wrong + [
        f"{id_} was rolled back and is there" for id_ in sorted(set(undone) & (written | sent).keys())
    ]
