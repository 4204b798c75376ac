"""What the feeds of several transports share: how a task that waits is woken, and what a reply address is."""
