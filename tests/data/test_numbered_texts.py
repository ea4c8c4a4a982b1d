"""Texts in a file that is mapped into memory, against a list."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from tempembed.data.numbered_texts import NumberedTexts

TEXTS = [f"text {number} {'x' * (number % 7)}" for number in range(500)]


@pytest.fixture
def texts(tmp_path):
    """In chunks of many sizes, one of them empty."""
    cuts = [0, 3, 3, 120, 121, 490, 500]
    parts = (pa.array(TEXTS[low:high], pa.large_string()) for low, high in pairwise(cuts))
    return NumberedTexts.write(tmp_path, parts)


def test_any_of_them_in_any_order(texts):
    chance = np.random.default_rng(0)
    for numbers in (chance.integers(0, 500, 900), np.array([499, 0, 0, 3, 2, 120]), np.empty(0, np.int64)):
        assert texts.take(numbers).to_pylist() == [TEXTS[number] for number in numbers]


def test_they_are_documents_whose_ids_are_their_numbers(texts):
    tables = list(texts.shards(90))
    assert [len(table) for table in tables] == [90, 90, 90, 90, 90, 50]
    rows = [row for table in tables for row in table.to_pylist()]
    assert rows == [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]
    assert texts.sample(100, 500) == TEXTS[::5]
    assert texts.survey(lambda _: None).num_rows == len(texts) == 500


def test_the_name_of_a_file_is_its_content_s(tmp_path):
    first, again, other = (
        NumberedTexts.write(tmp_path, [pa.array(t, pa.large_string())]) for t in (TEXTS, TEXTS, TEXTS[1:])
    )
    assert first.path == again.path != other.path
    assert {first.path, other.path} == set(tmp_path.iterdir())
