"""What is simulated, for the tests and for the table in docs/queueing.md.

python -m tests.queueing.experiments docs/measured/queueing.json      a few million messages, about ten minutes
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.queueing.simulator import measured, played
from waystation.queueing import Queue, ggc, loss, md1, mg1, mm1, mmc, mmck, mxmc

UTILISATIONS: Final = (0.5, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A queue at some utilisation.

    Attributes:
        share: Of the usual number of messages, what it takes to see it.
        quick: Whether it is played at the highest utilisation too when there is little time.
    """

    name: str
    at: Callable[[float], Queue]
    share: float = 1.0
    quick: bool = False


#: Queues whose model is a theorem, for the distributions that the simulator draws from.
EXACT: Final = (
    Experiment("M/M/1", lambda load: mm1(load, 1.0), quick=True),
    Experiment("M/M/4", lambda load: mmc(4 * load, 1.0, 4), quick=True),
    Experiment("M/M/3/8", lambda load: mmck(3 * load, 1.0, 3, 8), share=0.3, quick=True),
    Experiment("M/D/5/5", lambda load: loss(5 * load, 1.0, 5, service_cv2=0), share=0.2, quick=True),
    Experiment("M/D/1", lambda load: md1(load, 1.0), quick=True),
    Experiment("M/E2/1", lambda load: mg1(load, 1.0, service_cv2=0.5)),
    Experiment("M/H2/1", lambda load: mg1(load, 1.0, service_cv2=2.0)),
    Experiment("M[4]/M/2", lambda load: mxmc(2 * load, 1.0, 2, batch=4)),
    Experiment("M[~3]/M/2", lambda load: mxmc(2 * load, 1.0, 2, batch=3, law="geometric")),
)


def general(servers: int, arrival_cv2: float, service_cv2: float) -> Callable[[float], Queue]:
    """Return G/G/c with these coefficients, by utilisation."""
    return lambda load: ggc(load * servers, 1.0, servers, arrival_cv2=arrival_cv2, service_cv2=service_cv2)


#: Queues whose model is an approximation: how far it is off is what is measured.
APPROXIMATE: Final = (
    Experiment("M/D/8", general(8, 1, 0)),
    Experiment("M/H2/8, cs² = 4", general(8, 1, 4)),
    Experiment("D/M/8", general(8, 0, 1)),
    Experiment("E4/E4/1", general(1, 0.25, 0.25)),
    Experiment("E4/E4/8", general(8, 0.25, 0.25)),
    Experiment("H2/M/1, ca² = 4", general(1, 4, 1)),
    Experiment("H2/E4/8, ca² = 4", general(8, 4, 0.25)),
)


def rows(experiments: tuple[Experiment, ...], customers: Callable[[float], int]) -> Iterator[dict[str, Any]]:
    """Simulate, and yield a row for each queue and utilisation."""
    for seed, experiment in enumerate(experiments):
        for load in UTILISATIONS:
            found = experiment.at(load)
            pairs = measured(played(found, int(experiment.share * customers(load)), seed), found)
            yield {
                "queue": experiment.name,
                "model": found.model,
                "utilisation": load,
                "quantities": {
                    name: {
                        "model": _rounded(value),
                        "simulated": _rounded(interval.mean),
                        "half": _rounded(interval.half),
                    }
                    for name, (value, interval) in pairs.items()
                },
            }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def main(file: Path) -> None:
    """Simulate everything at length, and write the rows down."""
    found = []
    for kind, experiments in (("exact", EXACT), ("approximate", APPROXIMATE)):
        for row in rows(experiments, lambda load: {0.5: 100_000, 0.8: 200_000, 0.95: 1_000_000}[load]):
            print(kind, row["queue"], row["utilisation"], row["quantities"]["mean wait"], flush=True)
            found.append(json.dumps({"kind": kind, **row}, ensure_ascii=False))
    file.write_text("[\n" + ",\n".join(found) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
