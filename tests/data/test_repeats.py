"""Equal documents and lines that repeat."""

import numpy as np

from tempembed.data.repeats import LINE_DOCUMENTS, HashFiles, Repeats, batch_hashes, find_repeats

LICENCE = "# Licensed under a licence that every file repeats in full."


def repeats_of(texts, folder, batch=4):
    keys = []
    with HashFiles(folder / "documents") as documents, HashFiles(folder / "lines") as lines:
        for start in range(0, len(texts), batch):
            own, found, owners = batch_hashes(texts[start : start + batch])
            documents.add(own, start + np.arange(len(own)))
            lines.add(found, start + owners)
            keys.append(own)
        return find_repeats(np.concatenate(keys), documents, lines)


def test_of_equal_documents_the_first_stays(tmp_path):
    found = repeats_of(["a", "b", " a\n", "c", "b", "a"], tmp_path)
    assert found.equal.tolist() == [False, False, True, False, True, True]
    assert not len(found.lines)


def test_a_long_line_of_many_documents_stays_in_the_first_alone(tmp_path):
    texts = ["before", *(f"  {LICENCE}\nshort\ntext {i}\n{LICENCE}" for i in range(LINE_DOCUMENTS))]
    found = repeats_of(texts, tmp_path)
    kept, removed = found.without_lines(texts, range(len(texts)))
    assert kept[:2] == texts[:2]
    assert kept[2:] == [f"short\ntext {i}" for i in range(1, LINE_DOCUMENTS)]
    assert removed == 2 * (LINE_DOCUMENTS - 1)
    found.save(tmp_path)
    assert Repeats.load(tmp_path).without_lines(texts, range(len(texts))) == (kept, removed)
    fewer = repeats_of(texts[:-1], tmp_path / "fewer")
    assert fewer.without_lines(texts, range(len(texts))) == (texts, 0)
