"""Messages of one key, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def order_by_key(sent: Mapping[str, Sequence[str]], handled: Iterable[tuple[str, str]]) -> list[str]:
    """Find messages that began before an earlier one of their key had ended.

    Args:
        sent: Ids in the order in which one producer sent them, by key.
        handled: Key and id of each handling that came to its end, in the order of these ends. A message that is handled
            again, because its settlement was lost, may come late; its first end counts.

    Returns:
        A sentence for each violation.
    """
    place = {(key, id_): number for key, ids in sent.items() for number, id_ in enumerate(ids)}
    reached: dict[str, int] = {}
    done: set[tuple[str, str]] = set()
    wrong = []
    for key, id_ in handled:
        if (key, id_) not in place:
            wrong.append(f"{id_} of key {key} was never sent")
            continue
        number = place[key, id_]
        if (key, id_) not in done and number < reached.get(key, 0):
            wrong.append(f"{id_} of key {key} came after {sent[key][reached[key] - 1]}, which was sent later")
        done.add((key, id_))
        reached[key] = max(reached.get(key, 0), number + 1)
    return wrong
