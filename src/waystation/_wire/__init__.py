"""The wire protocol: bytes in, frames out; no I/O, no clock, no chance. Normative text: docs/wire-protocol.md."""
