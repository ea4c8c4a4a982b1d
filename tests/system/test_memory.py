"""A process that trains one model after the other does not hold the memory of all."""

import subprocess
import sys

import pytest

TRIALS = """
import threading, torch
from tempembed.system.memory import give_back, keep_freed_memory, resident_bytes

def trial(seed):
    assert keep_freed_memory()
    generator = torch.Generator().manual_seed(seed)
    held = []
    for step in range(300):
        held.append(torch.ones(int(torch.randint(1_000, 1_000_000, (), generator=generator))))
        if len(held) > 40:
            held.pop(int(torch.randint(len(held), (), generator=generator)))

before = resident_bytes()
for seed in range(4):
    thread = threading.Thread(target=trial, args=(seed,))
    thread.start()
    thread.join()
kept = resident_bytes() - before
give_back()
print(kept, resident_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_trials_have_freed_is_given_back():
    found = subprocess.run([sys.executable, "-c", TRIALS], capture_output=True, text=True, check=True).stdout
    kept, left = map(int, found.split())
    assert kept > 100e6
    assert left < 0.3 * kept
