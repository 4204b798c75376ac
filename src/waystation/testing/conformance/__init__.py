"""The rules that every transport keeps, one test each. Needs pytest.

A transport proves itself in ten lines:

```python
from waystation.testing.conformance import TransportConformance

class TestMine(TransportConformance):
    def make(self, clock):
        return MyTransport("mine://localhost", clock=clock)
```

The numbers in the names of the tests are those of the list of rules in `docs/transport-contract.md`. A rule that rests
on a capability which the transport does not claim is skipped.
"""

import pytest

# So that a failing assertion says what it compared; before the modules are imported, or it comes too late.
_PARTS = (
    "claiming",
    "delivering",
    "ending",
    "looking",
    "ordering",
    "publishing",
    "settling",
    "timing",
    "world",
)
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from .claiming import Claiming  # noqa: E402
from .delivering import Delivering  # noqa: E402
from .ending import Ending  # noqa: E402
from .looking import Looking  # noqa: E402
from .ordering import Ordering  # noqa: E402
from .publishing import Publishing  # noqa: E402
from .settling import Settling  # noqa: E402
from .timing import Timing  # noqa: E402
from .world import Suite, World  # noqa: E402

__all__ = ["TransportConformance", "World"]


class TransportConformance(
    Delivering, Settling, Ordering, Publishing, Timing, Looking, Ending, Claiming, Suite
):
    """All rules. A subclass says how to `make` its transport."""
