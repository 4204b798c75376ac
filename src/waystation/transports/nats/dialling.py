"""Dialling a server, and what is said if that does not succeed: one sentence, with what to look at."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from ..._core.errors import ConfigurationError, Disconnected, Refused
from .line import Line
from .options import NO_KEYS, Address, Options


async def dial(
    address: Address, options: Options, make: Callable[[], Line], signed: Callable[[], bool]
) -> Line:
    """Return a line to a server that has let this program in.

    Args:
        make: Makes the line. Whoever gives it ends a line that was not welcome.
        signed: Says whether the server, once it has greeted, asks for a signature.

    Raises:
        Disconnected: Nobody answers there, or no NATS server, or not in time.
        Refused: It does not let this program in, or is not trusted.
    """
    try:
        async with asyncio.timeout(options.connect_timeout_s):
            _, line = await asyncio.get_running_loop().create_connection(make, address.host, address.port)
            await line.greet(options.login(), options.tls, options.tls_name or address.host)
    except Refused as error:
        advice = f"{options.advice} It may want a signature: {NO_KEYS}" if signed() else options.advice
        raise Refused(f"{address} does not let this program in: {error}; {advice}") from None
    except Disconnected as error:
        raise Disconnected(f"{address}: {error}") from None
    except TimeoutError:
        raise Disconnected(f"{address} has not answered") from None
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"the certificate of {address} is not accepted: {error.verify_message.rstrip('.')}; "
            "give the authority that signed it (tls_ca=FILE), or the name in it (tls_name=NAME)"
        ) from None
    except ssl.SSLError as error:
        raise Disconnected(f"no TLS with {address}: {error.reason or error}") from None
    except socket.gaierror as error:
        raise Disconnected(f"the name in {address} is not known: {error.strerror}") from None
    except UnicodeError:
        raise Disconnected(f"the name in {address} is not known: no host can be called that") from None
    except OSError as error:
        raise Disconnected(
            f"{address} cannot be reached: {error.strerror or error}; is nats-server running there?"
        ) from None
    return line


def check_version(info: dict[str, Any], place: str, least: tuple[int, int]) -> str:
    """Return the server's version.

    Raises:
        ConfigurationError: It is too old.
    """
    version = str(info.get("version", "0"))
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if numbers < least:
        raise ConfigurationError(
            f"{place} is NATS {version}; this needs {least[0]}.{least[1]} or newer, which reads streams in parts"
        )
    return version
