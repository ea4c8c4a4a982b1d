"""Files of texts to search in."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from tempembed.data.texts import SUFFIXES, open_texts
from tests.fuzz.harness import damaged, json_bytes, odd, only_our_errors, profile

texts = st.lists(
    st.sampled_from(["one", "two words", "é", "\ufeffx", 'q"uote', "a,b", "\0", "\r", " ", "x" * 300]),
    max_size=6,
)
columns = st.sampled_from(["text", "document", "query", ""])


@st.composite
def file(draw):
    suffix, column, content = draw(st.sampled_from(SUFFIXES)), draw(columns), draw(texts)
    if suffix == ".parquet":
        sink = io.BytesIO()
        type_ = draw(
            st.sampled_from(
                [
                    pa.string(),
                    pa.binary(),
                    pa.large_string(),
                    pa.string_view(),
                    pa.dictionary(pa.int32(), pa.string()),
                ]
            )
        )
        pq.write_table(pa.table({column: pa.array(content, type_), "n": range(len(content))}), sink)
        whole = sink.getvalue()
    elif suffix in (".csv", ".tsv"):
        comma = "," if suffix == ".csv" else "\t"
        whole = "".join(f'{n}{comma}"{text}"\n' for n, text in [("n", column), *enumerate(content)]).encode()
    elif suffix == ".txt":
        whole = "\n".join(content).encode()
    else:
        values = [draw(st.one_of(st.just(text), odd)) for text in content]
        whole = b"".join(json_bytes({column: value, "n": 1}) + b"\r\n" for value in values)
    return suffix, draw(damaged(whole))


@profile
@given(file())
def test_texts(folder, file):
    path = folder / f"a{file[0]}"
    path.write_bytes(file[1])
    with only_our_errors("test_texts", folder):
        found = [text for chunk in open_texts(str(path)).chunks() for text in chunk]
        assert found
        assert all(text.strip() for text in found)
        "".join(found).encode()
    path.unlink()
