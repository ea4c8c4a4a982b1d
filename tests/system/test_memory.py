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

def after(seed):
    thread = threading.Thread(target=trial, args=(seed,))
    thread.start()
    thread.join()
    others = [threading.Thread(target=lambda: bytearray(100)) for _ in range(seed)]
    for other in others:
        other.start()
    return resident_bytes() - before

before = resident_bytes()
first, *_, last = [after(seed) for seed in range(5)]
give_back()
print(first, last, resident_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_trials_in_threads_of_one_process_share_a_heap_that_shrinks():
    found = subprocess.run([sys.executable, "-c", TRIALS], capture_output=True, text=True, check=True).stdout
    first, last, given_back = map(int, found.split())
    assert first > 50e6
    assert last < 1.5 * first
    assert given_back < 0.5 * first
