"""What SQLite does with our statements beside running them."""

from pathlib import Path

import apsw

from tests.store.single import Store
from waystation._core.delivery import ACCEPT


def test_a_statement_is_not_planned_again_for_other_values(tmp_path: Path) -> None:
    store = Store(tmp_path / "bus.db")
    planned: list[tuple[object, ...]] = []

    def asked_while_planning(*about: object) -> int:
        planned.append(about)
        return apsw.SQLITE_OK

    store.connection.set_authorizer(asked_while_planning)
    for key in ("a", "b"):
        planned.clear()  # the first round plans
        store.send(key)
        store.settle(*((delivery, ACCEPT) for delivery in store.claim()))
        store.now += 1
    assert planned == []
