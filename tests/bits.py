"""The bits of a few small runs, by the command line alone: a change of structure must not change one of them.

    python -m tests.bits record before.json        # in one checkout
    python -m tests.bits check before.json         # in another, on the same machine

The bits depend on the processor, the number of threads and the libraries: a recording is of use on its machine only, so
none is committed. Takes about three minutes on 2 cores.
"""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
SMALL = ["--batch-size", "64", "--vocabulary", "400", "--log-every", "5", "--checkpoint-every", "10"]
TABLE = ["--encoder", "static", "--width", "64", *SMALL]
TRANSFORMER = ["--encoder", "transformer", "--width", "32", "--layers", "2", *SMALL]
LEARNED = ["--objective", "tempaggmrl:learned(0.05),0.1", "--direction", "both"]
PASSING = re.compile(r"seconds|_per_second|bytes$|peak|date|time|commit|version|host|path|folder|source|id$")
"""Names of values that differ from run to run."""


def pairs(seed: int, num: int, negatives: int = 0) -> pa.Table:
    """Pairs of made-up sentences that share words, with labels; every third row lacks its hard negatives."""
    chance = random.Random(seed)
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]

    def text(topic: int, length: int) -> str:
        own = words[topic * 7 : topic * 7 + 12]
        return " ".join(chance.choice(own if chance.random() < 0.6 else words) for _ in range(length))

    topics = [chance.randrange(18) for _ in range(num)]
    columns = {
        "query": [text(topic, 6) + f" q{seed}x{row}" for row, topic in enumerate(topics)],
        "document": [text(topic, 25) + f" d{seed}x{row}" for row, topic in enumerate(topics)],
        "label": [f"topic{topic % 5}" for topic in topics],
    }
    for k in range(negatives):
        columns[f"negative_{k}"] = [
            "" if row % 3 == 0 else text((topic + 1 + k) % 18, 20) for row, topic in enumerate(topics)
        ]
    return pa.table(columns)


def record(folder: Path) -> dict[str, object]:
    """Run everything below a folder."""
    pq.write_table(pairs(1, 900), folder / "pairs.parquet")
    pq.write_table(pairs(2, 900, negatives=2), folder / "triples.parquet")
    pq.write_table(pairs(3, 300), folder / "test.parquet")
    data, hard = ["--data", "pairs.parquet"], ["--data", "triples.parquet"]
    test = ["--eval-data", "test.parquet"]

    def run(*command: str) -> None:
        print(" ".join(command), flush=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TEMPEMBED_CACHE": str(folder / "cache")}
        environment |= {"OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")

    train = "tempembed.cli", "train"
    run(*train, *data, *test, *TABLE, "--objective", "tempaggmrl", "--steps", "25", "--output", "table")
    options = [*LEARNED, "--beta", "0.5", "--tau-plus", "0.01"]
    run(*train, *hard, *TABLE, *options, "--steps", "25", "--output", "hard")
    run(*train, *hard, *TRANSFORMER, *LEARNED, "--steps", "8", "--output", "transformer")
    cut = [*hard, *TRANSFORMER, "--objective", "mrl:cosine(0.05,0.1)", "--steps", "16"]
    run(*train, *cut, "--stop-after", "9", "--output", "resumed")
    run(*train, *cut, "--resume", "--output", "resumed")
    run("tempembed.cli", "evaluate", "table", "--data", "test.parquet", "--output", "report.json")
    ranks = [*TRANSFORMER, *LEARNED, "--gradient-cache", "--micro-batch-tokens", "300", "--steps", "8"]
    run("ray_jobs.train", *hard, *ranks, "--num-workers", "2", "--output", "ranks")
    sweep = ["--num-workers", "0", "--steps", "20", "--hold-out", "0.2", "--output", "sweep", "--no-register"]
    run("ray_jobs.tune", *data, *TABLE, "--objectives", "infonce:0.06", "tempspecmrl", *sweep)
    weights = {
        name: hashlib.sha256((next((folder / name).rglob("model.safetensors"))).read_bytes()).hexdigest()
        for name in ("table", "hard", "transformer", "resumed", "ranks")
    }
    reports = {
        str(path): steady(json.loads((folder / path).read_text().replace(str(folder), ".")))
        for path in ("report.json", "table/evaluation.json", "sweep/trials.json")
    }
    return {"weights": weights, "reports": reports}


def steady(value: object) -> object:
    """A report without what differs from run to run."""
    if isinstance(value, dict):
        return {k: steady(v) for k, v in value.items() if not PASSING.search(k) or k == "bytes_per_vector"}
    return [steady(item) for item in value] if isinstance(value, list) else value


def differences(before: object, after: object, place: str = "") -> list[str]:
    """Where two recordings are unlike."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(before.keys() | after.keys())
        return [d for n in names for d in differences(before.get(n), after.get(n), f"{place}/{n}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [d for i, (old, new) in pairs for d in differences(old, new, f"{place}/{i}")]
    return [] if before == after else [f"{place}: {str(before)[:200]} before, {str(after)[:200]} now"]


def main() -> None:
    """Record, or compare with a recording."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("record", "check"):
        raise SystemExit(__doc__)
    path = Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        found = json.loads(json.dumps(record(Path(folder))))
    if sys.argv[1] == "record":
        path.write_text(json.dumps(found, indent=1))
        print(f"recorded: {path}")
        return
    if unlike := differences(json.loads(path.read_text()), found):
        raise SystemExit("\n".join([f"{len(unlike)} unlike", *unlike[:40]]))
    print("the same bits")


if __name__ == "__main__":
    main()
