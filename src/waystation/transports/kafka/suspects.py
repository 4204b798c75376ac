"""`Suspects`: which messages of a partition were in the hands of members that died, and how often."""

from __future__ import annotations

from .marks import Mark


class Suspects:
    """What was begun and not finished is tried once more in company, then alone: it may be what kills its process.

    Args:
        end: The end of the partition when this process came to own it; what was handed out by others is below.

    Attributes:
        alone: The last message that had to be alone, and how often it was begun.
        alone_is_out: Whether it is in somebody's hands, so that nothing else may go out.
    """

    def __init__(self, mark: Mark, end: int) -> None:
        self._alone_below = min(mark.suspects, end)
        self._company_below = min(mark.claimed, end)
        self._company_begun = False
        self.alone = mark.alone
        self.alone_is_out = False

    @property
    def below(self) -> int:
        """Return the offset from which on nothing is suspected."""
        return max(self._alone_below, self._company_below, self.alone[0] + 1 if self.alone else 0)

    def begun_before(self, offset: int) -> int:
        """Return how often a message was in the hands of members that died."""
        if self.alone is not None and self.alone[0] == offset:
            return self.alone[1]
        if offset < self._alone_below:
            return 2
        return 1 if offset < self._company_below else 0

    def attempt(self, offset: int) -> int:
        """Return which attempt at a message it is that is in somebody's hands."""
        if self.alone_is_out and self.alone is not None and self.alone[0] == offset:
            return self.alone[1]
        return self.begun_before(offset) + 1

    def go_out(self, offset: int, before: int) -> bool:
        """Take in that a message goes out that was begun before; say whether the broker must know it first."""
        if before > 1:
            self.alone, self.alone_is_out = (offset, before + 1), True
            return True
        is_first, self._company_begun = not self._company_begun, True
        return is_first

    def come_back(self, offset: int) -> None:
        """Take in that a message is in nobody's hands: others may go out again if it was the one that was alone."""
        if self.alone is not None and self.alone[0] == offset:
            self.alone_is_out = False

    def clear(self) -> None:
        """Suspect nothing any more."""
        self.alone, self.alone_is_out, self._alone_below, self._company_below = None, False, 0, 0

    # --- what a mark says of it ------------------------------------------------------------------------------

    @property
    def claimed(self) -> int:
        """Return below which offset all was begun once, at least."""
        return self._company_below

    @property
    def begun_twice(self) -> int:
        """Return below which offset all will have been begun twice if this process dies."""
        return self._company_below if self._company_begun else self._alone_below

    @property
    def left_alone(self) -> int:
        """Return the same if it leaves in peace."""
        return self._alone_below
