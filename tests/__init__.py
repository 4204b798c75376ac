"""The tests: a package by name, since a library that they use brings a package of this name too."""
