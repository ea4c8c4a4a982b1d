"""`tempembed encode` against SentenceTransformer.encode with its own pool of processes: seconds, CPU seconds, and the same vectors.

python -m benchmarks.encode MODEL [--documents 4000]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LIBRARY = """import sys, numpy as np, pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer
if __name__ == "__main__":
    model, data, output, num = sys.argv[1:]
    encoder = SentenceTransformer(model, device="cpu", trust_remote_code=False)
    texts = pq.read_table(data)["text"].to_pylist()
    pool = encoder.start_multi_process_pool(["cpu"] * int(num))
    np.save(output, encoder.encode_document(texts, pool=pool, normalize_embeddings=True))
    encoder.stop_multi_process_pool(pool)
"""


def main() -> None:
    """Print the measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.model, arguments.documents, arguments.processes), indent=1))


def measure(model: str, num: int, processes: int) -> dict[str, Any]:
    """Both, on documents of the embedded corpus."""
    from tempembed.data.installed_code import installed_code

    texts = list(dict.fromkeys(pq.read_table(installed_code().test)["document"].to_pylist()))[:num]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        pq.write_table(
            pa.table({"id": [str(i) for i in range(len(texts))], "text": texts}), place / "docs.parquet"
        )
        (place / "library.py").write_text(LIBRARY)
        data, ours, theirs = str(place / "docs.parquet"), str(place / "ours"), str(place / "theirs.npy")
        encode = [
            sys.executable,
            "-m",
            "tempembed.cli",
            "encode",
            model,
            "--data",
            data,
            "--codec",
            "float32",
            "--output",
            ours,
        ]
        found = {
            "tempembed": _timed([*encode, "--processes", str(processes), "--shard-rows", str(-(-len(texts) // (4 * processes)))]),
            "sentence-transformers": _timed([sys.executable, str(place / "library.py"), model, data, theirs, str(processes)]),
        }  # fmt: skip
        ours_MD = np.concatenate([np.load(path) for path in sorted(Path(ours).glob("shards/*.code.npy"))])
        far = float(np.abs(ours_MD - np.load(theirs)).max())
    return {"documents": len(texts), "processes": processes, "largest difference": far, **found}


def _timed(command: list[str]) -> dict[str, float]:
    """Seconds by the clock, and those of all its processes on CPUs."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.monotonic() - began, "cpu_seconds": cpu}


if __name__ == "__main__":
    main()
