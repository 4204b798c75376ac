"""The command line: bell-pulls to the library. Nobody imports it."""
