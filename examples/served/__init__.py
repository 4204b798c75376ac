"""A store that is served, and programs that could be on other hosts."""
