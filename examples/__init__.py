"""Small programs to read and to run, each started by one command; see README.md."""
