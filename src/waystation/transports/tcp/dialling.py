"""`Dialler`: connects to one address after the other, and says in a sentence why it could not."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Callable

from ..._core.errors import Disconnected, Refused
from ..._peer.line import Line
from ..._peer.options import Address
from ..._peer.sockets import why_not_reached
from .options import PeerOptions

_AUTHORITY = "give the authority that signed it (?tls_ca=FILE)"
_NAME = "connect by a name that is in it, or say which one it has (?tls_name=NAME)"

#: What to change, by OpenSSL's number for what is wrong with a certificate (X509_V_ERR_…).
_ADVICE = {
    9: "it is not valid yet: is one of the two clocks wrong?",
    10: "the server needs a new one",
    62: _NAME,
    64: _NAME,
}


class Dialler:
    """Each call tries the next address of a URL; after a cut first the same one, for there the session is known."""

    def __init__(self, options: PeerOptions) -> None:
        self._options = options
        self._addresses = itertools.cycle(options.addresses)
        self._address = next(self._addresses)
        self._line: Line | None = None  # the last one that was made
        self._tried = False

    async def __call__(self, make: Callable[[], Line], /) -> Line:
        """Connect.

        Raises:
            Disconnected: It could not be done; trying again, or elsewhere, may help.
            Refused: The server's certificate is not right, and trying again will not make it so.
        """
        line, self._line = self._line, None
        if self._tried and not (line is not None and line.was_cut):
            self._address = next(self._addresses)
        self._tried, address = True, self._address
        try:
            self._line = await self._dial(address, make)
            return self._line
        except ssl.SSLCertVerificationError as error:
            advice = _ADVICE.get(error.verify_code, _AUTHORITY)
            raise Refused(
                f"the certificate of {address} is not accepted: {error.verify_message.rstrip('.')}; {advice}"
            ) from None
        except ssl.SSLError as error:
            raise Disconnected(f"no TLS with {address}: {_why_no_tls(error)}") from None
        except socket.gaierror as error:
            raise Disconnected(f"the name in {address} is not known: {error.strerror}") from None
        except UnicodeError:
            raise Disconnected(f"the name in {address} is not known: no host can be called that") from None
        except (ConnectionResetError, ConnectionAbortedError):
            raise Disconnected(f"{address} hung up; {self._options.advice}") from None
        except OSError as error:
            raise Disconnected(f"{address} cannot be reached: {why_not_reached(error)}") from None

    async def _dial(self, address: Address, make: Callable[[], Line]) -> Line:
        loop, tls = asyncio.get_running_loop(), self._options.tls
        name = (self._options.tls_name or address.host or "localhost") if tls else None
        if address.path:
            _, line = await loop.create_unix_connection(make, address.path, ssl=tls, server_hostname=name)
        else:
            _, line = await loop.create_connection(
                make, address.host, address.port, ssl=tls, server_hostname=name
            )
        return line


def _why_no_tls(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return (
            "it speaks something else; leave TLS away (?tls=off), or turn it on there (?tls_cert=, ?tls_key=)"
        )
    why = reason.lower().replace("_", " ")
    return f"{why}; does it want a certificate (?tls_cert=, ?tls_key=), and does it know TLS 1.2 or newer?"
