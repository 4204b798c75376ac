"""Queue mathematics: how long, how many, how much, before anything is built.

Four quantities, each with its formula, assumptions and source: the time T of a transfer (`transfer`), the backlog L
(`backlog`, `little`, `drain`, `filling`, `course`), the throughput R (`throughput`, `closed`, `fit_scalability`), and
the offered load E with the queues that follow from it (`offered_load`, `queue`, `servers_for`, `retried`).

    found = queue(arrivals_per_s=2000, service_s=0.035, servers=80)
    found.model, found.trust              # "M/M/80", Trust.EXACT
    found.sojourn.percentile_s(99)        # 0.163 s
    servers_for("p99<200ms", 2000, 0.035).servers

Times are in seconds, sizes in bytes, rates per second. Every result says which model it is from and how far to trust
it. What no model covers raises `ModelError`, a `ValueError` that says which assumption fails and what to give instead.
Nothing here imports the rest of Waystation; it can be used for any queue.
"""

from .backlog import Backlog, Drain, Filling, backlog, drain, filling, little
from .batches import mxmc
from .choice import queue
from .delays import Delay
from .erlang import erlang_b, erlang_c, load_for_loss, servers_for_loss
from .fluid import Course, Phase, Stretch, course
from .general import ggc
from .load import Load, Retries, failures_survived, offered_load, retried
from .markov import loss, mm1, mmc, mmck
from .moments import Variation, variation
from .result import Queue
from .single import md1, mg1
from .sizing import Sizing, Wish, servers_for
from .steps import Step
from .throughput import Closed, Throughput, closed, throughput
from .transfer import Line, Overhead, Transfer, transfer
from .trust import ModelError, Trust
from .units import (
    parse_bandwidth,
    parse_count,
    parse_rate,
    parse_share,
    parse_size,
    parse_time,
    show,
)
from .usl import Scalability, fit_scalability

__all__ = [
    "Backlog",
    "Closed",
    "Course",
    "Delay",
    "Drain",
    "Filling",
    "Line",
    "Load",
    "ModelError",
    "Overhead",
    "Phase",
    "Queue",
    "Retries",
    "Scalability",
    "Sizing",
    "Step",
    "Stretch",
    "Throughput",
    "Transfer",
    "Trust",
    "Variation",
    "Wish",
    "backlog",
    "closed",
    "course",
    "drain",
    "erlang_b",
    "erlang_c",
    "failures_survived",
    "filling",
    "fit_scalability",
    "ggc",
    "little",
    "load_for_loss",
    "loss",
    "md1",
    "mg1",
    "mm1",
    "mmc",
    "mmck",
    "mxmc",
    "offered_load",
    "parse_bandwidth",
    "parse_count",
    "parse_rate",
    "parse_share",
    "parse_size",
    "parse_time",
    "queue",
    "retried",
    "servers_for",
    "servers_for_loss",
    "show",
    "throughput",
    "transfer",
    "variation",
]
