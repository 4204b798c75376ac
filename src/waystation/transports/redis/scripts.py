"""The scripts in `lua/`: each is a unit of work that the server does as a whole or not at all.

A script is sent by its digest; a server that does not know it yet is given the text.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final, NamedTuple

#: What each script needs before it, in order. All begin with `common`.
_NEEDS: Final = {
    "send": ("held", "place", "publish"),
    "take": ("held", "place", "publish", "taking"),
    "claim": ("held", "place", "publish", "taking"),
    "settle": ("held", "place"),
    "extend": ("held", "place"),
    "release": ("held", "place"),
    "declare": ("held", "place", "offsets"),
    "sweep": ("held", "place", "publish"),
    "replies": (),
    "topics": ("held", "place", "publish"),
    "groups": ("held", "place", "publish"),
    "browse": ("held", "place", "publish", "offsets"),
    "seek": ("held", "place", "publish", "offsets"),
    "remove": ("held", "place", "publish"),
    "letters": ("held", "place"),
    "dead": (),
    "scheduled": ("held", "place", "publish"),
    "reschedule": ("held", "place", "publish"),
    "recur": ("held", "place", "publish"),
    "recurring": (),
    "announce": ("held", "place", "publish"),
    "members": (),
    "facts": (),
}

#: What puts something in is refused while the server's memory is full; everything else goes on, or nothing would ever
#: be freed.
_ADDS: Final = ("send", "recur", "declare", "letters")

#: Given to the server when a connection begins: what is sent often, and what must not be overtaken when it comes back.
HOT: Final = ("declare", "release", "send", "take", "claim", "settle", "extend")


class Script(NamedTuple):
    """A script's name, text, and digest in hexadecimal."""

    name: str
    text: bytes
    digest: bytes


@cache
def script(name: str) -> Script:
    """Return a script by its name."""
    folder = files(__package__) / "lua"
    parts = [(folder / f"{part}.lua").read_text("utf-8") for part in ("common", *_NEEDS[name], name)]
    flags = "" if name in _ADDS else " flags=allow-oom"
    text = f"#!lua{flags}\n".encode() + "\n".join(parts).encode()
    return Script(name, text, sha1(text, usedforsecurity=False).hexdigest().encode())
