"""The running of things: the only room with tasks, and the only one that settles deliveries."""
