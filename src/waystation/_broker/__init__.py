"""What the gates to brokers share: how a message looks to a plain client, and what brokers lack."""
