"""Connections that meet at a file nobody has open."""

import threading
from pathlib import Path

from waystation._core.errors import StoreError
from waystation._store.database import connect, create

ROUNDS = 100


def test_connections_that_open_a_file_at_once_wait_for_the_first(tmp_path: Path) -> None:
    # The first one rebuilds the index of the write-ahead log and locks the others out meanwhile.
    path = tmp_path / "bus.db"
    create(path)
    refused: list[StoreError] = []

    def meet(together: threading.Barrier) -> None:
        together.wait()
        try:
            connection = connect(path, patient=False)
        except StoreError as error:
            refused.append(error)
            return
        finally:
            together.wait()
        connection.close()

    for _ in range(ROUNDS):
        barrier = threading.Barrier(3)
        threads = [threading.Thread(target=meet, args=(barrier,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not refused
