"""Ray on one machine, reachable from that machine only."""

ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""For the environment of all of Ray's processes and drivers.

Ray takes `--node-ip-address=127.0.0.1` for "the address that others reach", and its servers then listen on every interface.
They keep to loopback where Ray is told that there is no cluster to build: its own switch, named after the systems on which it
is the default.
"""
