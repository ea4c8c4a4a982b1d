"""Files of pictures, whole and damaged, as bytes, objects and paths."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tempembed.data.pairs import read_pairs
from tempembed.inputs.picture_store import PictureStore
from tempembed.inputs.pictures import Fit
from tests.fuzz.harness import damaged, only_our_errors, profile

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")
KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


@st.composite
def picture(draw):
    mode, kind, side = draw(st.sampled_from(MODES)), draw(st.sampled_from(KINDS)), draw(st.integers(1, 9))
    made = (
        Image.fromarray(np.arange(side * 7, dtype=np.uint16).reshape(side, 7))
        if mode == "I;16"
        else Image.new(mode, (side, 7))
    )
    sink = io.BytesIO()
    try:
        made.save(sink, kind)
    except (OSError, ValueError):  # a kind that has no such mode
        sink = io.BytesIO()
        Image.new("RGB", (side, 7)).save(sink, kind)
    return draw(damaged(sink.getvalue()))


@profile
@given(st.lists(picture(), min_size=1, max_size=4), st.sampled_from(["bytes", "objects", "paths"]))
def test_pictures(folder, contents, form):
    cells = contents
    if form == "objects":
        cells = [{"bytes": content, "path": None} for content in contents]
    elif form == "paths":
        for place, content in enumerate(contents):
            (folder / f"{place}.png").write_bytes(content)
        cells = [f"{place}.png" for place in range(len(contents))]
    queries = [f"q{place}" for place in range(len(contents))]
    pq.write_table(pa.table({"query": queries, "document": cells}), folder / "a.parquet")
    with only_our_errors("test_pictures", folder):
        found = read_pairs(str(folder / "a.parquet"), skip_bad_rows=True)
        seen = PictureStore().pixels(found.documents, Fit(side=8))
        assert seen.shown().shape == (len(found), 8, 8, 3)
    for path in folder.iterdir():
        path.unlink()
