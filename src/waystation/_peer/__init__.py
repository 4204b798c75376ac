"""Sessions between peers, on an event loop: what `tcp`, `unix` and `zmq+tcp` share. The protocol itself is `_wire`."""
