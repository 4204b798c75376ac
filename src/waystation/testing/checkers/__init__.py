"""What a history must look like, whatever faults were injected: pure functions, for your own fault tests too.

A history is what processes wrote down while they were killed, stopped and restarted (`waystation.testing.recording`),
and while the rest was drained at the end. A send is *invoked*, then *accepted*, *rejected*, or neither: its process
died before it knew, so that its outcome is unknown. A timeout is never a rejection.
"""

from .effects import effect_once, torn
from .environment import Sample, resources, secrets
from .leases import attempts, fencing, final, lease_exclusive
from .order import order_by_key
from .queue import LossPlace, LossShape, TotalQueue, conservation, loss_place, loss_shape, total_queue
from .timing import dedupe, early, late, liveness, ttl
from .verdict import Exposure, Verdict, exposure, verdict

__all__ = [
    "Exposure",
    "LossPlace",
    "LossShape",
    "Sample",
    "TotalQueue",
    "Verdict",
    "attempts",
    "conservation",
    "dedupe",
    "early",
    "effect_once",
    "exposure",
    "fencing",
    "final",
    "late",
    "lease_exclusive",
    "liveness",
    "loss_place",
    "loss_shape",
    "order_by_key",
    "resources",
    "secrets",
    "torn",
    "total_queue",
    "ttl",
    "verdict",
]
