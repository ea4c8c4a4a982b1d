"""Measurements against a floor and a peer, in one run; `make bench` prints them as one table."""
