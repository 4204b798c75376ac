"""The cellar: what must survive a crash, in one SQLite file. Synchronous; `transports/sqlite.py` gives it a loop."""
