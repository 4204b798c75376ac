"""What the gates to brokers share: how a message looks to a client that never heard of Waystation, and what brokers lack."""
