"""Toy text in shards, for tests of pre-training."""

from pathlib import Path

import numpy as np

from tempembed.inputs.token_shards import TokenShards, write_manifest, write_shard
from tests.models import bert_tokenizer

WORDS = "open close read write sort queue socket file matrix image name line count parse return value the a of in".split()


def toy_shards(folder: Path, num: int = 200, *, tokenizer=None, mean: float = 3.0) -> TokenShards:
    """Documents of words in an order that can be learned: each word follows the one before it by a rule, but for one in eight."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer or bert_tokenizer()
    tokenizer.save_pretrained(folder)
    draw = np.random.default_rng(0)
    documents = []
    for _ in range(num):
        at, words = int(draw.integers(len(WORDS))), []
        for _ in range(max(2, int(draw.lognormal(mean, 0.6)))):
            words.append(WORDS[at])
            at = (3 * at + 1) % len(WORDS) if draw.random() < 0.875 else int(draw.integers(len(WORDS)))
        documents.append(np.array(tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]))
    vocabulary = len(tokenizer)
    half = num // 2
    write_shard(folder, 0, documents[:half], vocabulary)
    write_shard(folder, 1, documents[half:], vocabulary)
    write_manifest(folder, vocabulary=vocabulary, fingerprint=f"toy-{num}-{mean}")
    return TokenShards.open(folder)
