"""The rules that every transport keeps, one or more tests each. Needs pytest.

A transport proves itself in a few lines:

```python
from waystation.testing.conformance import TransportConformance

class TestMine(TransportConformance):
    @pytest.fixture(autouse=True)
    def _medium(self, tmp_path):
        self.url = f"mine://{tmp_path}"
```

The numbers in the names of the tests are those of the rules, which are listed in `rules.py` and in
`docs/transport-contract.md`. A rule that rests on a capability which the transport does not claim is skipped; one that
it does claim is not skipped, whatever the reason.
"""

import pkgutil

import pytest

# So that a failing assertion says what it compared; before the modules are imported, or it comes too late.
pytest.register_assert_rewrite(*(f"{__name__}.{part.name}" for part in pkgutil.iter_modules(__path__)))

from .claiming import Claiming  # noqa: E402
from .delivering import Delivering  # noqa: E402
from .ending import Ending  # noqa: E402
from .leaving import Leaving  # noqa: E402
from .looking import Looking  # noqa: E402
from .ordering import Ordering  # noqa: E402
from .publishing import Publishing  # noqa: E402
from .recurring import Recurs  # noqa: E402
from .replaying import Replaying  # noqa: E402
from .replying import Replying  # noqa: E402
from .rules import RULES, Mark, Rule, mark_of, marked_tests, rule  # noqa: E402
from .running import Running  # noqa: E402
from .serving import Broadcasting, Serving  # noqa: E402
from .settling import Settling  # noqa: E402
from .sharing import Sharing  # noqa: E402
from .surviving import Surviving  # noqa: E402
from .timing import Timing  # noqa: E402
from .transacting import Transacting  # noqa: E402
from .world import Suite, World  # noqa: E402

__all__ = ["RULES", "Mark", "Rule", "TransportConformance", "World", "mark_of", "marked_tests", "rule"]


class TransportConformance(
    Delivering,
    Sharing,
    Settling,
    Running,
    Ordering,
    Publishing,
    Timing,
    Recurs,
    Transacting,
    Looking,
    Replying,
    Replaying,
    Serving,
    Broadcasting,
    Ending,
    Leaving,
    Surviving,
    Claiming,
    Suite,
):
    """All rules. A subclass says where its transport's medium is: by `url`, or by `make`."""
