"""One module per medium. Each has one function, `transport(url, *, clock)`, which builds its adapter without any I/O.

| module | URL | what it is |
|---|---|---|
| `memory` | `memory://` | one process, no file: the reference of the semantics, and the test double |
| `sqlite` | `sqlite:///shop.db` | one machine, many processes, durable |

A transport from elsewhere joins by an entry point of the group `waystation.transports`, named after its URL scheme,
which points at such a function; `waystation.testing.conformance` says whether it keeps the contract.
"""
