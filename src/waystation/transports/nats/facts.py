"""What `waystation doctor` prints of a `nats://` transport."""

from __future__ import annotations

from .limits import HEADER_ROOM_BYTES
from .office import Office


async def facts(office: Office) -> dict[str, str]:
    """Return versions, sizes, settings, and how each was found out."""
    link, options = office.link, office.options
    account = await office.api.call("INFO")
    info = await office.api.stream_info(office.layout.bucket)
    replicas = 0 if info is None else int(info["config"].get("num_replicas", 1))
    payload = int(link.info.get("max_payload", 0))
    how = "declared by sync=always" if options.flushed else "the server's default, it cannot be asked"
    return {
        "server": f"NATS {link.info.get('version', '?')} at {link.place} (probed)",
        "TLS": "yes" if options.tls is not None else "no",
        "durability": f"{options.durability} (replicas {replicas}: probed; flushing: {how})",
        "largest body": f"{max(0, payload - HEADER_ROOM_BYTES):,} bytes (max_payload {payload:,}: probed)",
        "prefix": options.prefix,
        "streams": f"{account.get('streams', 0)} of this account (probed)",
        "storage": f"{int(account.get('storage', 0)):,} bytes (probed)",
        "cuts": f"{link.cuts} of the connection since it was opened",
    }
