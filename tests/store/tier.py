"""How much is enumerated: WAYSTATION_TIER is `pr` (`make test`), `faults` or `soak` (`make faults`, `make soak`)."""

import os
from typing import Final

TIER: Final = os.environ.get("WAYSTATION_TIER", "pr")
