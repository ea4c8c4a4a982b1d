"""The best 100 of 1 M and of 10 M codes of 1,024 bits: CPU seconds, and memory beside the codes. python -m benchmarks.scale"""

import json
import resource
import time

import torch

from tempembed.index.hamming import hamming_top_k

SIZES, BYTES, QUERIES, K = (1_000_000, 10_000_000), 128, 16, 100


def main() -> None:
    """Print the measurement as JSON."""
    generator, found = torch.Generator().manual_seed(0), {}
    codes = torch.randint(0, 256, (SIZES[-1], BYTES), dtype=torch.uint8, generator=generator)
    queries = torch.randint(0, 256, (QUERIES, BYTES), dtype=torch.uint8, generator=generator)
    hamming_top_k(queries, codes[:1000], K)  # compiled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in SIZES:
        began, clock = time.process_time(), time.monotonic()
        hamming_top_k(queries, codes[:size], K)
        found[f"{size:,} codes"] = {
            "codes_gb": size * BYTES / 1e9, "seconds": time.monotonic() - clock, "cpu_seconds": time.process_time() - began,
        }  # fmt: skip
    grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    small, large = (found[f"{size:,} codes"]["cpu_seconds"] for size in SIZES)
    print(
        json.dumps(
            {**found, "times": large / small, "memory_beside_codes_mb": grew / 1e3, "queries": QUERIES},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
