"""How long n messages take over a line: T = n·m / b, and what delay, headers, work and confirmations add to it.

Batches go out one after the other. Preparing one overlaps with sending the one before; if only so many may be
unconfirmed, the next is prepared when the oldest is confirmed. A TCP connection's slow start and losses are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from .steps import Step
from .trust import ModelError, Trust, above_zero, whole, zero_or_more
from .units import digits, show_bandwidth, show_size, show_time

#: Messages that a transfer has at most, so that a slip of the keyboard is noticed: years of them, on any line.
MESSAGES_MAX: Final = 10**15

BoundBy = Literal["bandwidth", "window", "work", "confirmations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What carries messages.

    Attributes:
        bandwidth_bytes_per_s: b.
        delay_s: One way, from a byte sent to the same byte received; there and back is twice that.
        window_bytes: What may be on its way unconfirmed, as TCP's window; None for as much as there is.
    """

    bandwidth_bytes_per_s: float
    delay_s: float = 0.0
    window_bytes: float | None = None

    @property
    def product_bytes(self) -> float:
        """Bandwidth times delay there and back: the smallest window with which the line is never idle."""
        return self.bandwidth_bytes_per_s * 2 * self.delay_s

    @property
    def usable_bytes_per_s(self) -> float:
        """What gets through: the bandwidth, or a window for each time there and back."""
        if self.window_bytes is None or self.window_bytes >= self.product_bytes:
            return self.bandwidth_bytes_per_s
        return self.window_bytes / (2 * self.delay_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What is added to messages: bytes by headers, time by work.

    Attributes:
        message_bytes: Headers of each message.
        batch_bytes: Headers of each batch: frames, packets.
        message_s: Time that preparing each message takes, such as encoding.
        batch_s: The same for each batch, such as a commit or a system call.
    """

    message_bytes: float = 0.0
    batch_bytes: float = 0.0
    message_s: float = 0.0
    batch_s: float = 0.0

    def size(self, messages: int, message_bytes: float) -> float:
        """Return the bytes of a batch."""
        return messages * (message_bytes + self.message_bytes) + self.batch_bytes

    def work_s(self, messages: int) -> float:
        """Return the time that preparing a batch takes."""
        return messages * self.message_s + self.batch_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """The time from the beginning to the last byte received, and what it consists of.

    Exact for a line and a sender that always take as long as was said. Of a real line, n·m / b with headers and delay
    is a bound, which nothing beats; with work and confirmations it is an approximation.

    Attributes:
        messages: n.
        message_bytes: m.
        line: What carries them.
        batch: Messages that go out together.
        batches: How many batches there are.
        wire_bytes: All that goes over the line, headers included.
        batch_line_s: Time of a full batch on the line.
        batch_work_s: Time that preparing a full batch takes.
        overhead: Headers and work.
        in_flight: Batches that may be unconfirmed; None for any number.
        total_s: T.
        trust: How far to trust it.
    """

    messages: int
    message_bytes: float
    line: Line
    batch: int
    batches: int
    wire_bytes: float
    batch_line_s: float
    batch_work_s: float
    overhead: Overhead
    in_flight: int | None
    total_s: float
    trust: Trust
    model: str = "T = n·m / b, in batches"

    @property
    def payload_bytes(self) -> float:
        """What was to be sent, n·m."""
        return self.messages * self.message_bytes

    @property
    def confirmed_s(self) -> float:
        """From the beginning of a batch until it is confirmed."""
        return self.batch_work_s + self.batch_line_s + 2 * self.line.delay_s

    @property
    def cycle_s(self) -> float:
        """From one batch to the next, in the long run."""
        free = max(self.batch_line_s, self.batch_work_s)
        return free if self.in_flight is None else max(free, self.confirmed_s / self.in_flight)

    @property
    def bound_by(self) -> BoundBy:
        """What decides the throughput."""
        if self.cycle_s > max(self.batch_line_s, self.batch_work_s):
            return "confirmations"
        if self.batch_work_s > self.batch_line_s:
            return "work"
        return "window" if self.line.usable_bytes_per_s < self.line.bandwidth_bytes_per_s else "bandwidth"

    @property
    def messages_per_s(self) -> float:
        """Messages per second, over the whole transfer."""
        return self.messages / self.total_s

    @property
    def efficiency(self) -> float:
        """Share of the line's bandwidth that carried payload, over the whole transfer."""
        return self.payload_bytes / self.line.bandwidth_bytes_per_s / self.total_s

    def steps(self) -> tuple[Step, ...]:
        """Return the calculation."""
        count, usable = digits(self.messages), show_bandwidth(self.line.usable_bytes_per_s)
        steps = [
            Step(
                name="payload on the line",
                formula="n·m / b",
                numbers=f"{count}·{show_size(self.message_bytes)} / {show_bandwidth(self.line.bandwidth_bytes_per_s)}",
                value=self.payload_bytes / self.line.bandwidth_bytes_per_s,
                unit="s",
                trust=Trust.BOUND,
                at_least=True,
            )
        ]
        if self.bound_by == "window":
            steps.append(
                Step(
                    name="what the window lets through",
                    formula="w / (2·d)",
                    numbers=f"{show_size(self.line.window_bytes or 0)} / {show_time(2 * self.line.delay_s)}",
                    value=self.line.usable_bytes_per_s,
                    unit="bandwidth",
                    trust=Trust.BOUND,
                )
            )
        steps.append(
            Step(
                name="a batch on the line",
                formula="s = bytes / b",
                numbers=f"{show_size(self.batch_line_s * self.line.usable_bytes_per_s)} / {usable}",
                value=self.batch_line_s,
                unit="s",
            )
        )
        if self.batch_work_s:
            steps.append(
                Step(
                    name="work for a batch",
                    formula="p",
                    numbers=f"{self.batch:,}·{show_time(self.overhead.message_s)} + {show_time(self.overhead.batch_s)}",
                    value=self.batch_work_s,
                    unit="s",
                )
            )
        return (*steps, *self._sums())

    def _sums(self) -> tuple[Step, ...]:
        free = self.in_flight is None or self.bound_by != "confirmations"
        formula, numbers = "max(s, p)", f"max({show_time(self.batch_line_s)}, {show_time(self.batch_work_s)})"
        if not free:
            formula = "(p + s + 2·d) / w"
            parts = (self.batch_work_s, self.batch_line_s, 2 * self.line.delay_s)
            numbers = f"({' + '.join(map(show_time, parts))}) / {self.in_flight}"
        first_s = self.batch_work_s + self.batch_line_s + self.line.delay_s
        at_least = self.trust is Trust.BOUND
        return (
            Step(
                name=f"from batch to batch, by {self.bound_by}",
                formula=formula,
                numbers=numbers,
                value=self.cycle_s,
                unit="s",
            ),
            Step(
                name="transfer time",
                formula="T = p + s + d + (B − 1)·cycle",
                numbers=f"{show_time(first_s)} + {digits(self.batches - 1)}·{show_time(self.cycle_s)}",
                value=self.total_s,
                unit="s",
                trust=self.trust,
                at_least=at_least,
            ),
            Step(
                name="throughput",
                formula="R = n / T",
                numbers=f"{digits(self.messages)} / {show_time(self.total_s)}",
                value=self.messages_per_s,
                unit="1/s",
                trust=self.trust,
            ),
            Step(
                name="payload's share of the line",
                formula="n·m / (b·T)",
                numbers="",
                value=self.efficiency,
                unit="share",
                trust=self.trust,
            ),
        )


def transfer(
    messages: int,
    message_bytes: float,
    line: Line,
    *,
    batch: int = 1,
    in_flight: int | None = None,
    overhead: Overhead | None = None,
) -> Transfer:
    """Return how long messages of one size take over a line.

    With s the time of a batch on the line, p that of preparing it, d the delay and B batches, a batch follows the one
    before after f = max(s, p), or, with at most w unconfirmed, after (p + s + 2d) / w if that is longer. So
    T = p + s + d + (B − 1)·f where nothing waits for confirmations, and B·(p + s + 2d) − d where one batch is confirmed
    before the next begins (w = 1).

    Args:
        batch: Messages that go out together; the last batch may have fewer.
        in_flight: Batches that may be unconfirmed; None for any number, 1 to wait for each.
        overhead: Headers and work; None for none.

    Raises:
        ModelError: A count, size or time that is none, or a window of nothing.
    """
    count = whole(messages, "messages", at_most=MESSAGES_MAX)
    size = above_zero(message_bytes, "message_bytes", "1024 for 1 KiB")
    full = min(count, whole(batch, "batch", at_most=MESSAGES_MAX))
    window = None if in_flight is None else whole(in_flight, "in_flight", at_most=MESSAGES_MAX)
    over, used = _checked_overhead(overhead or Overhead()), _checked_line(line)
    batches = -(-count // full)
    last = count - (batches - 1) * full
    usable = used.usable_bytes_per_s
    full_s, last_s = over.size(full, size) / usable, over.size(last, size) / usable
    work_s, there_and_back_s = over.work_s(full), 2 * used.delay_s
    ends_s = _last_leaves(batches, full_s, work_s, last_s, over.work_s(last), there_and_back_s, window)
    ideal = not (work_s or window or used.window_bytes)
    return Transfer(
        messages=count,
        message_bytes=size,
        line=used,
        batch=full,
        batches=batches,
        wire_bytes=over.size(count, size) + (batches - 1) * over.batch_bytes,
        batch_line_s=full_s,
        batch_work_s=work_s,
        overhead=over,
        in_flight=window,
        total_s=ends_s + used.delay_s,
        trust=Trust.BOUND if ideal else Trust.APPROXIMATION,
    )


def _last_leaves(
    batches: int,
    line: float,
    work: float,
    last_line: float,
    last_work: float,
    there_and_back: float,
    window: int | None,
) -> float:
    """Return when the last byte leaves. All batches but the last are alike."""
    before = batches - 1
    free, confirmed = max(line, work), work + line + there_and_back
    if before == 0:
        return last_work + last_line
    rounds = 0
    if window is not None and confirmed > window * free:
        rounds, before = divmod(before, window)
    if rounds == 0:
        begins, line_free = before * work, work + line + (before - 1) * free
    else:
        begins = rounds * confirmed + before * free
        line_free = begins - free + work + line if before else 0.0
    return max(begins + last_work, line_free) + last_line


def _checked_overhead(over: Overhead) -> Overhead:
    """Return an overhead whose numbers are such.

    Raises:
        ModelError: They are not.
    """
    return Overhead(
        message_bytes=zero_or_more(over.message_bytes, "message_bytes", "60 for a header of 60 bytes"),
        batch_bytes=zero_or_more(over.batch_bytes, "batch_bytes", "40 for a header of 40 bytes"),
        message_s=zero_or_more(over.message_s, "message_s", "2e-6 for two microseconds"),
        batch_s=zero_or_more(over.batch_s, "batch_s", "0.001 for a millisecond"),
    )


def _checked_line(line: Line) -> Line:
    """Return a line whose numbers are such.

    Raises:
        ModelError: They are not.
    """
    window = line.window_bytes
    if window is not None and line.delay_s == 0:
        raise ModelError(
            "a window matters on a line with a delay",
            found="delay_s is 0",
            instead="give the delay one way, or leave the window out",
        )
    return Line(
        bandwidth_bytes_per_s=above_zero(
            line.bandwidth_bytes_per_s, "bandwidth_bytes_per_s", "125e6 for 1 Gbit/s"
        ),
        delay_s=zero_or_more(line.delay_s, "delay_s", "0.02 for 20 ms one way"),
        window_bytes=None if window is None else above_zero(window, "window_bytes", "65536 for 64 KiB"),
    )
