"""Files with keys of CURVE: ZeroMQ's certificates, as pyzmq and CZMQ write them, or public keys one a line."""

from __future__ import annotations

import re
from typing import Final

from ..._core.errors import ConfigurationError
from ..._peer.options import read_text

#: A key as text: 40 characters of Z85 (RFC 32).
_Z85: Final = r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}"
_ALONE: Final = re.compile(rf"^\s*({_Z85})\s*$", re.MULTILINE)
_PUBLIC: Final = re.compile(rf'^\s*public-key\s*=\s*"({_Z85})"', re.MULTILINE)
_SECRET: Final = re.compile(rf'^\s*secret-key\s*=\s*"({_Z85})"', re.MULTILINE)

_MAKE: Final = "python -c \"import zmq.auth; zmq.auth.create_certificates('.', 'NAME')\""


def public_keys(path: str, name: str) -> tuple[bytes, ...]:
    """Return the public keys in a file, one or more.

    Raises:
        ConfigurationError: There is none, or the file cannot be read; `name` is the option's.
    """
    text = read_text(path, name)
    found = _PUBLIC.findall(text) or _ALONE.findall(text)
    if not found:
        raise ConfigurationError(
            f"{name}={path!r} holds no public key of CURVE: make NAME.key and NAME.key_secret with {_MAKE}"
        )
    return tuple(key.encode() for key in found)


def public_key(path: str, name: str) -> bytes:
    """Return the one public key in a file.

    Raises:
        ConfigurationError: There is none, or more than one, or the file cannot be read.
    """
    key, *others = public_keys(path, name)
    if others:
        raise ConfigurationError(f"{name}={path!r} holds {1 + len(others)} keys; it must be one")
    return key


def secret_key(path: str, name: str) -> bytes:
    """Return the secret key in a file.

    Raises:
        ConfigurationError: There is none, or the file cannot be read. No text of the file is shown.
    """
    found = _SECRET.findall(read_text(path, name))
    if len(found) != 1:
        raise ConfigurationError(
            f"{name}={path!r} holds no secret key of CURVE: make NAME.key and NAME.key_secret with {_MAKE}, "
            "and give NAME.key_secret"
        )
    return str(found[0]).encode()
