"""Install the servers that the tests of brokers need, as far as this machine lets us: `make brokers`.

    python -m scripts.brokers                what is missing of all
    python -m scripts.brokers redis kafka    of these

What is there already is left as it is. Exits with 1 if something is still missing, and says what to type.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from waystation import ConfigurationError
from waystation._servers.desk import means_of
from waystation._servers.installing import install
from waystation._servers.kinds import KINDS, kind_of
from waystation._servers.machine import look
from waystation._servers.plan import Kind


def main(arguments: Sequence[str] | None = None) -> int:
    """Install; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    try:
        kinds = [kind_of(name) for name in parser.parse_args(arguments).kinds]
    except ConfigurationError as error:
        parser.error(str(error))
    provided = [provide(kind) for kind in kinds]
    return 0 if all(provided) else 1


def provide(kind: Kind) -> bool:
    """Install one kind if it is missing; say what became of it, and whether it is there."""
    machine = look(kind.programs)
    try:
        if kind.find(machine) is None:
            install(kind.install(machine))
        print(f"{kind.title}: {means_of(kind, look(kind.programs)).by}")
    except (ConfigurationError, OSError) as error:
        print(f"{kind.title}: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
