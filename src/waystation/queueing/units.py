"""Quantities as people write and read them: `2k/s`, `1KiB`, `35ms`, `1Gbit/s`, `5%`.

Reading is strict about what can be read two ways: `KB` may be 1,000 or 1,024 bytes and `Mb` a bit or a byte, so both
are refused. Inside, everything is in seconds, bytes, and pieces per second.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from .trust import ModelError

_NUMBER = r"([0-9][0-9_]{0,15}(?:\.[0-9]{1,12})?(?:e[0-9]{1,2})?|\.[0-9]{1,12})"
_TEXT = re.compile(rf"{_NUMBER}\s*([A-Za-zµμ%]*)")
_RATE = re.compile(rf"{_NUMBER}\s*([kKMG]?)\s*(?:/\s*({_NUMBER})?\s*([A-Za-zµμ]+))?")

_COUNTS: Final = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0}
_TIMES: Final = {"": 1.0} | _SECONDS | {"m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DECIMAL: Final = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_BINARY: Final = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_SIZES: Final = {"": 1.0} | _DECIMAL | _BINARY
_BITS: Final = {"bit": 1 / 8, "kbit": 125.0, "Mbit": 125e3, "Gbit": 125e6}
_BIT_RATES: Final = {"bps": 1 / 8, "kbps": 125.0, "Mbps": 125e3, "Gbps": 125e6}
#: Units that mean one thing to some and another to others, with what to write instead.
_TWO_WAYS: Final = {"KB": "kB (1,000) or KiB (1,024)", "b": "bit or B"} | {
    small + "b": f"{large}bit or {large}B"
    for small, large in (("k", "k"), ("K", "k"), ("m", "M"), ("M", "M"), ("g", "G"), ("G", "G"))
}


def parse_count(text: str, name: str = "a count") -> float:
    """Return a number of pieces: `500`, `10k`, `1.5M`.

    Raises:
        ModelError: It is something else; the sentence says what it looks like.
    """
    return _parse(text, name, "count", _COUNTS)


def parse_time(text: str, name: str = "a time") -> float:
    """Return seconds: `35ms`, `1.5s`, `2min`, `8h`; a bare number is in seconds.

    Raises:
        ModelError: It is something else.
    """
    return _parse(text, name, "time", _TIMES)


def parse_size(text: str, name: str = "a size") -> float:
    """Return bytes: `200B`, `1KiB` (1,024), `1kB` (1,000), `50GiB`; a bare number is in bytes.

    Raises:
        ModelError: It is something else, or can be read two ways.
    """
    return _parse(text, name, "size", _SIZES)


def parse_share(text: str, name: str = "a share") -> float:
    """Return a share from 0 to 1: `5%`, `0.05`.

    Raises:
        ModelError: It is something else, or more than all.
    """
    found = _parse(text, name, "share", {"": 1.0, "%": 0.01})
    if found > 1:
        raise ModelError(f"{name} is at most 1, or 100%", found=f"{text!r} was given", instead="give 5%")
    return found


def parse_rate(text: str, name: str = "a rate") -> float:
    """Return pieces per second: `2k/s`, `90/min`, `1M/d`, `100/15min`; a bare number is per second.

    Raises:
        ModelError: It is something else.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or (match[5] or "s") not in _TIMES:
        raise _misread(text, name, "rate")
    count, prefix, _, per, unit = match.groups()
    length_s = float(per or 1) * _TIMES[unit or "s"]
    if length_s == 0:
        raise _misread(text, name, "rate")
    return float(count) * _COUNTS[prefix] / length_s


def parse_bandwidth(text: str, name: str = "a bandwidth") -> float:
    """Return bytes per second: `1Gbit/s`, `100Mbps`, `80MB/s`, `1GiB/s`.

    Raises:
        ModelError: It is something else, or can be read two ways.
    """
    amount, slash, per = text.strip().rpartition("/")
    if not slash:
        return _parse(text, name, "bandwidth", _BIT_RATES)
    units = {unit: size for unit, size in {**_SIZES, **_BITS}.items() if unit}
    if per.strip() not in _TIMES or not per.strip():
        raise _misread(text, name, "bandwidth")
    return _parse(amount, name, "bandwidth", units, whole=text) / _TIMES[per.strip()]


_EXAMPLES: Final = {
    "count": "500, 10k or 1.5M",
    "time": "35ms, 1.5s, 2min or 8h",
    "size": "200B, 1KiB, 1kB or 50GiB",
    "share": "5% or 0.05",
    "rate": "500/s, 2k/s, 90/min or 1M/d",
    "bandwidth": "1Gbit/s, 100Mbps or 80MB/s",
}


def _parse(text: str, name: str, kind: str, units: Mapping[str, float], *, whole: str | None = None) -> float:
    match = _TEXT.fullmatch(text.strip())
    if match is None or match[2] not in units:
        unit = match[2] if match else ""
        if unit in _TWO_WAYS and kind in ("size", "bandwidth"):
            raise ModelError(
                f"{name} has one meaning",
                found=f"{whole or text!r} has two",
                instead=f"write {_TWO_WAYS[unit]}",
            )
        raise _misread(whole or text, name, kind)
    return float(match[1]) * units[match[2]]


def _misread(text: str, name: str, kind: str) -> ModelError:
    """Return the error for a text that is no quantity of this kind, saying what it looks like."""
    match = _TEXT.fullmatch(text.strip())
    unit = match[2] if match else ""
    likely = {"time": _TIMES, "size": {**_SIZES, **_BITS}, "share": {"%": 1.0}, "bandwidth": _BIT_RATES}
    looks = next((other for other, units in likely.items() if unit and unit in units and other != kind), "")
    if not looks and "/" in text:
        looks = "bandwidth" if re.search(r"(B|bit)\s*/", text) else "rate"
    found = f"{text!r} is a {looks}" if looks and looks != kind else f"{text!r} was given"
    return ModelError(f"{name} is a {kind}", found=found, instead=f"write {_EXAMPLES[kind]}")


# --- shown ------------------------------------------------------------------------------------------------------


#: Length, name, and from how many seconds on it is used.
_SHOWN_TIMES: Final = (
    (86400.0, "d", 172800.0),
    (3600.0, "h", 7200.0),
    (60.0, "min", 120.0),
    (1.0, "s", 1.0),
    (1e-3, "ms", 1e-3),
    (1e-6, "µs", 1e-6),
    (1e-9, "ns", 1e-12),
)


def show(value: float, unit: str = "") -> str:
    """Return a quantity with three or four digits that count, in the unit that people would choose.

    Args:
        unit: `s`, `1/s`, `B`, `B/s`, `bandwidth`, `share`, `Erlang` or another word, or empty for a bare number.
    """
    if not math.isfinite(value):
        return "never" if unit == "s" else str(value)
    match unit:
        case "s":
            return show_time(value)
        case "1/s":
            return show_rate(value)
        case "B":
            return show_size(value)
        case "B/s":
            return f"{show_size(value)}/s"
        case "bandwidth":
            return show_bandwidth(value)
        case "share":
            return show_share(value)
    return f"{digits(value)} {unit}".strip()


def show_time(seconds: float) -> str:
    """Return a time: `3.5 ms`, `12 s`, `2.5 h`."""
    for length_s, name, from_s in _SHOWN_TIMES:
        if seconds >= from_s * (1 - 5e-4):
            return f"{digits(seconds / length_s)} {name}"
    return "0 s"


def show_rate(per_s: float) -> str:
    """Return a rate: `2,000/s`, `50/h`."""
    for length_s, name in ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d")):
        if per_s * length_s >= 1 or per_s == 0:
            return f"{digits(per_s * length_s)}/{name}"
    return f"{digits(per_s * 86400.0)}/d"


def show_size(size_bytes: float) -> str:
    """Return bytes: `1 KiB`, `2.5 GiB`."""
    for factor, name in ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB")):
        if size_bytes >= factor:
            return f"{digits(size_bytes / factor)} {name}"
    return f"{digits(size_bytes)} B"


def show_bandwidth(bytes_per_s: float) -> str:
    """Return a bandwidth as lines have it, in thousands: `125 MB/s`."""
    for factor, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if bytes_per_s >= factor:
            return f"{digits(bytes_per_s / factor)} {name}/s"
    return f"{digits(bytes_per_s)} B/s"


def show_share(value: float) -> str:
    """Return a share in percent: `87.5 %`; what is tiny as a power of ten."""
    if 0 < value < 1e-5:
        return f"{value:.2g}"
    return f"{digits(100 * value) if value >= 1 else beside(100 * value, 100)} %"


def beside(value: float, limit: float, count: int = 3) -> str:
    """Return a number that is below a limit with as many digits as show that it is: 99.9999 is not 100."""
    nines = math.floor(-math.log10(1 - value / limit)) if value < limit else 0
    return digits(value, count + max(0, nines - 1))


def digits(value: float, count: int = 3) -> str:
    """Return a number with so many digits that count, thousands apart; whole numbers up to a million are kept whole."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 1e15 or abs(value) < 1e-6:
        return f"{value:.{count - 1}e}"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    behind = max(0, count - 1 - math.floor(math.log10(abs(value)) + 1e-12))
    text = f"{round(value, behind):,.{behind}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
