"""The example of an exported model: plain sentence-transformers where that is enough, else with tempembed's codec."""

import torch

from tempembed.codecs.spec import Spec

HEAD = '''"""{title}

{needs}
"""

from pathlib import Path

{imports}

FOLDER = Path(__file__).parent
documents = [
    "def parse_date(text):\\n    return datetime.strptime(text, '%Y-%m-%d').date()",
    "def resize(image, width, height):\\n    return image.resize((width, height))",
]
queries = ["read a date from a string"]

'''

FLOAT = """model = SentenceTransformer(str(FOLDER){truncate})
codes = model.encode_document(documents, normalize_embeddings=True){astype}
scores = model.encode_query(queries, normalize_embeddings=True) @ codes.T
"""

BINARY = """model = SentenceTransformer(str(FOLDER){truncate})
codes = model.encode_document(documents, precision="ubinary")
signs = 2.0 * np.unpackbits(codes, axis=1, count={width}) - 1
query_signs = 2.0 * np.unpackbits(model.encode_query(queries, precision="ubinary"), axis=1, count={width}) - 1
scores = query_signs @ signs.T  # {width} - 2 x Hamming distance
"""

RERANK_BITS = """# the best {depth} by Hamming distance are ordered anew: float query x signs of the document
scores = model.encode_query(queries, normalize_embeddings=True) @ signs.T
"""

CODEC = """model = SentenceTransformer(str(FOLDER))
codec = Codec.load(FOLDER / "codec")
# at full width: the codec cuts
full = {{"truncate_dim": {full}, "convert_to_tensor": True}}
codes = codec.encode(model.encode_document(documents, **full).float().cpu())
scores = codec.score(model.encode_query(queries, **full).float().cpu(), codes).numpy()
codes = codes.numpy()
"""

PICTURES = '''"""Search pictures at {bytes} bytes each: {search}.

Needs sentence-transformers, and tempembed for the encoder and the codec: python example.py "words" one.png two.jpg ...
"""

import sys
from pathlib import Path

from PIL import Image
from sentence_transformers import SentenceTransformer

from tempembed.codecs.codec import Codec

FOLDER = Path(__file__).parent
query, *files = sys.argv[1:]
# its class is tempembed's, which the library imports only if it may; the folder holds no code
model = SentenceTransformer(str(FOLDER), trust_remote_code=True)
codec = Codec.load(FOLDER / "codec")
query = Image.open(query) if Path(query).exists() else query
codes = codec.encode(model.encode([Image.open(file) for file in files], convert_to_tensor=True).float().cpu())
scores = codec.score(model.encode([query], convert_to_tensor=True).float().cpu(), codes)[0]
for place in scores.argsort(descending=True):
    print(f"{{scores[place]:10.4f}}  {{files[place]}}")
'''

TAIL = """
print(f"{codes.nbytes / len(codes):g} bytes a document")
for query, row in zip(queries, scores, strict=True):
    for place in (-row).argsort():
        print(f"{row[place]:10.4f}  {query!r}: {documents[place].splitlines()[0]}")
"""


def needs_codec(spec: Spec) -> bool:
    """Whether sentence-transformers' own options cannot give the codec's codes."""
    return spec.method != "prefix" or spec.codec.precision is None


def picture_example(spec: Spec) -> str:
    """A program that orders pictures by a query of words, or of a picture.

    Args:
        spec: of the codec.
    """
    return PICTURES.format(bytes=spec.search_bytes, search=spec.search)


def example_code(spec: Spec, full: int) -> str:
    """A program that encodes two documents and a query, compresses, and prints scores.

    Args:
        spec: of the codec.
        full: the model's coordinates.
    """
    title = f"Search at {spec.search_bytes} bytes a document: {spec.search}."
    cut = {"truncate": f", truncate_dim={spec.width}" if spec.width < full else "", "width": spec.width}
    sentence_transformers = "from sentence_transformers import SentenceTransformer"
    if needs_codec(spec):
        head = HEAD.format(
            title=title, needs="Needs sentence-transformers, and tempembed for the codec.",
            imports=f"{sentence_transformers}\n\nfrom tempembed.codecs.codec import Codec",
        )  # fmt: skip
        body = CODEC.format(full=full)
    elif spec.codec.precision == "ubinary":
        needs = "Needs sentence-transformers only; the scores are those of tempembed's codec."
        head = HEAD.format(title=title, needs=needs, imports=f"import numpy as np\n{sentence_transformers}")
        body = BINARY.format(**cut)
    else:
        needs = "Needs sentence-transformers only; the scores are those of tempembed's codec."
        head = HEAD.format(title=title, needs=needs, imports=sentence_transformers)
        body = FLOAT.format(**cut, astype='.astype("float16")' if spec.codec.dtype is torch.float16 else "")
    if spec.rerank == "bits" and not needs_codec(spec):
        body += RERANK_BITS.format(depth=spec.depth)
    elif spec.rerank:
        body += f"# tempembed search orders the best {spec.depth} of these anew ({spec.rerank})\n"
    return head + body + TAIL
