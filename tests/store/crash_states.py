"""What a disk may hold after a power cut, worked out from a log of what was asked of it. Pure functions.

The disk that is modelled is honest: what a flush has returned for is there. Of what was not flushed

- each write may be there, or not, or in part: a front, a back, or any of its sectors of 512 bytes; later ones without
  earlier ones (a kernel writes pages back in any order);
- a write that would make the file longer may have done only that, leaving zeros;
- a file may have been cut, or not; a name may have been made or removed, or not, until its folder is flushed;
- after a flush that failed, what it was for may be there or not for ever, although later flushes succeed.

And `powersafe overwrite`, which SQLite takes for granted by default: a write changes no byte outside its own range,
even if it is torn inside a sector that holds older data. Not modelled: disks that say that they have flushed and have
not, that damage what was not written to, or that return other data than was written. The first state of each crash
point has everything: it is what the death of all processes leaves, since the kernel lives on.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.store.recording_disk import Flush, FlushFolder, Link, Operation, Truncate, Unlink, Write

SECTOR_BYTES: Final = 512

#: Names and contents: what the folder holds.
Image: TypeAlias = dict[str, bytes]

#: What becomes of one operation that was not flushed: the parts of it that happen.
Fate: TypeAlias = Callable[[Operation], Sequence[Operation]]

#: With at most so many operations in question, every way to keep or drop each of them is tried.
_EVERY_WAY_COUNT_MAX: Final = 5


@dataclass(slots=True)
class Disk:
    """What is certain, and the operations in question, in order."""

    names: dict[str, int] = field(default_factory=dict)
    files: dict[int, bytearray] = field(default_factory=dict)
    open: list[tuple[int, Operation]] = field(default_factory=list)
    doomed: set[int] = field(
        default_factory=set
    )  # of the open ones: those that no flush makes certain any more
    certain: set[int] = field(
        default_factory=set
    )  # of the open ones: certain, and listed since they follow a doomed one

    def add(self, number: int, operation: Operation) -> None:
        """Take the next operation of a log."""
        if isinstance(operation, FlushFolder):
            self._settle(lambda n, o: isinstance(o, (Link, Unlink)) and n < operation.until)
        elif isinstance(operation, Flush) and operation.failed:
            self.doomed |= {n for n, o in self.open if n < operation.until and _file_of(o) == operation.file}
        elif isinstance(operation, Flush):
            self._settle(lambda n, o: n < operation.until and _file_of(o) == operation.file)
        else:
            self.open.append((number, operation))

    def image(self, happened: Sequence[Operation]) -> Image:
        """Return the folder after some operations on top of what is certain."""
        names, files = dict(self.names), {number: bytearray(data) for number, data in self.files.items()}
        for operation in happened:
            _apply(operation, names, files)
        return {name: bytes(files.get(file, b"")) for name, file in names.items()}

    def _settle(self, is_settled: Callable[[int, Operation], bool]) -> None:
        """Make operations certain. Those of a file with a doomed one stay in the list, to keep their order."""
        stuck = {_file_of(operation) for number, operation in self.open if number in self.doomed}
        left = []
        for number, operation in self.open:
            if number in self.doomed or not is_settled(number, operation):
                left.append((number, operation))
            elif _file_of(operation) in stuck:
                left.append((number, operation))
                self.certain.add(number)
            else:
                _apply(operation, self.names, self.files)
        self.open = left


def states(
    log: Sequence[Operation], rng: random.Random, *, points: Container[int], at_most: int = 1000
) -> Iterator[tuple[int, Image]]:
    """Return crash points, as numbers of operations of the log that were done, and what the folder may hold there.

    Args:
        points: The crash points of interest.
        at_most: How many states of each crash point to return; of more, a random choice with the two extremes.
    """
    disk = Disk()
    for point in range(len(log) + 1):
        if point:
            disk.add(point - 1, log[point - 1])
        if point not in points:
            continue
        in_question = [operation for number, operation in disk.open if number not in disk.certain]
        everything, nothing, *others = _fates(len(in_question), rng)
        if len(others) > at_most - 2:
            others = rng.sample(others, at_most - 2)
        for fates in (everything, nothing, *others):
            fate_of = iter(fates)
            parts = [
                (operation,) if number in disk.certain else next(fate_of)(operation)
                for number, operation in disk.open
            ]
            yield point, disk.image(list(itertools.chain(*parts)))


def replay(log: Sequence[Operation]) -> Iterator[Image]:
    """Return what the folder really held after each operation, the beginning first."""
    names: dict[str, int] = {}
    files: dict[int, bytearray] = {}
    yield {}
    for operation in log:
        _apply(operation, names, files)
        yield {name: bytes(files.get(file, b"")) for name, file in names.items()}


def _fates(count: int, rng: random.Random) -> Iterator[Sequence[Fate]]:
    """Return ways in which operations may end: first all kept, then all dropped, then the rest."""
    yield [kept] * count
    yield [dropped] * count
    for i, fate in itertools.product(range(count), (dropped, front, back, zeros)):
        yield [kept] * i + [fate] + [kept] * (count - i - 1)
        yield [kept] * i + [fate] + [dropped] * (count - i - 1)
    if 0 < count <= _EVERY_WAY_COUNT_MAX:
        yield from itertools.product((kept, dropped), repeat=count)
    for _ in range(min(count, 8)):
        yield [rng.choice((kept, kept, dropped, front, back, zeros, sectors(rng))) for _ in range(count)]


def kept(operation: Operation) -> Sequence[Operation]:
    return (operation,)


def dropped(_: Operation) -> Sequence[Operation]:
    return ()


def front(operation: Operation) -> Sequence[Operation]:
    """Keep a write up to a sector's end in its middle."""
    return _pieces(operation)[: len(_pieces(operation)) // 2]


def back(operation: Operation) -> Sequence[Operation]:
    """Keep a write from a sector's end in its middle on."""
    return _pieces(operation)[len(_pieces(operation)) // 2 :]


def zeros(operation: Operation) -> Sequence[Operation]:
    """Make the file as long as the write does, and no more."""
    if not isinstance(operation, Write):
        return ()
    return (Write(operation.file, operation.offset + len(operation.data), b""),)


def sectors(rng: random.Random) -> Fate:
    """Keep any of a write's sectors."""
    return lambda operation: [piece for piece in _pieces(operation) if rng.random() < 0.5]


def _pieces(operation: Operation) -> Sequence[Operation]:
    if not isinstance(operation, Write):
        return (operation,)
    end = operation.offset + len(operation.data)
    cuts = range((operation.offset // SECTOR_BYTES + 1) * SECTOR_BYTES, end, SECTOR_BYTES)
    return [
        Write(operation.file, lo, operation.data[lo - operation.offset : hi - operation.offset])
        for lo, hi in itertools.pairwise((operation.offset, *cuts, end))
    ]


def _file_of(operation: Operation) -> int | None:
    return operation.file if isinstance(operation, (Write, Truncate)) else None


def _apply(operation: Operation, names: dict[str, int], files: dict[int, bytearray]) -> None:
    if isinstance(operation, Link):
        names[operation.name] = operation.file
    elif isinstance(operation, Unlink):
        names.pop(operation.name, None)
    elif isinstance(operation, Write):
        data, end = files.setdefault(operation.file, bytearray()), operation.offset + len(operation.data)
        data.extend(bytes(max(0, end - len(data))))
        data[operation.offset : end] = operation.data
    elif isinstance(operation, Truncate):
        data = files.setdefault(operation.file, bytearray())
        data.extend(bytes(max(0, operation.size - len(data))))
        del data[operation.size :]
