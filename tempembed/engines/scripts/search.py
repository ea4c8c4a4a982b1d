"""Ask the engine: python search.py "how to parse a date" [--target ...]. Needs tempembed, for the model and its codec."""

import argparse
from pathlib import Path

import load
from shards import read_settings

from tempembed.codecs.codec import Codec
from tempembed.encoders.load import load_encoder


def main() -> None:
    """Ids of the nearest documents of each query, best first."""
    settings = read_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queries", nargs="+")
    parser.add_argument("--target", default=load.TARGET)
    parser.add_argument("--model", default=settings["model"])
    parser.add_argument("-k", type=int, default=5)
    arguments = parser.parse_args()
    codec, encoder = Codec.load(Path(__file__).parent / "codec"), load_encoder(arguments.model)
    embeddings = encoder.embed(encoder.prepare(arguments.queries, encoder.role("query")))
    found = load.search(settings, arguments.target, codec.searched(embeddings).numpy(), arguments.k)
    for query, ids in zip(arguments.queries, found, strict=True):
        print(f"{query}: {', '.join(ids)}")


if __name__ == "__main__":
    main()
