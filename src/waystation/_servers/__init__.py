"""Real servers for development and for tests, from what a machine has: planned, then started and ended."""
