"""Foundations: values and decisions. No I/O, no clock, no chance, no event loop."""
