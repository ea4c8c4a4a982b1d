"""The Ray edge."""

import os

from ray_jobs.alone import ALONE

if not os.environ.get("RAY_ADDRESS"):
    # Outside a cluster's job Ray starts here, if it starts, for this machine alone. Ray reads this when it is imported.
    for _name, _value in ALONE.items():
        os.environ.setdefault(_name, _value)
