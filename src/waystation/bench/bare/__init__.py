"""Brokers' own clients, each used in the fastest way that its documentation shows: the limits of a broker's figures.

Nobody imports a client but the process that plays it.
"""
