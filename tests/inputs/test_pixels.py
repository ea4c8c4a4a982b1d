import numpy as np

from tempembed.inputs.inputs import by_tower
from tempembed.inputs.pixels import Pixels
from tempembed.inputs.saved import load_inputs
from tempembed.inputs.tokens import Tokens
from tempembed.inputs.views import random_views, words


def pixels(num: int = 3, **more: object) -> Pixels:
    pictures = np.random.default_rng(0).integers(0, 256, (num, 8, 8, 3), np.uint8)
    return Pixels(pictures=pictures, index=np.array([2, 0, 0, 1]), **more)


def test_rows_show_their_pictures_after_select_and_at() -> None:
    found = pixels()
    rows = np.array([3, 0])
    assert (found.select(rows).shown() == found.pictures[[1, 2]]).all()
    spread = found.select(rows).at(np.array([True, False, True]))
    assert (spread.shown()[[0, 2]] == found.pictures[[1, 2]]).all()
    assert not spread.shown()[1].any()


def test_parts_of_a_tower_are_joined_and_keep_their_rows() -> None:
    first, second = pixels(tower="image"), pixels(tower="image").select(np.array([1]))
    text = Tokens.from_lists([[1, 2]])
    joined = by_tower([first, second, text])
    assert [type(part) for part in joined] == [Pixels, Tokens]
    assert (joined[0].shown() == np.concatenate([first.shown(), second.shown()])).all()


def test_what_is_saved_is_read_again_whatever_the_modality(tmp_path) -> None:
    pixels(tower="image").save(tmp_path, "document")
    Tokens.from_lists([[5], [6, 7]]).save(tmp_path, "query")
    document, query = load_inputs(tmp_path, "document"), load_inputs(tmp_path, "query")
    assert isinstance(document, Pixels)
    assert isinstance(query, Tokens)
    assert document.tower == "image"
    assert (document.shown() == pixels().shown()).all()
    assert query.ids.tolist() == [5, 6, 7]


def test_chunks_have_so_many_patches() -> None:
    big = Pixels(pictures=np.zeros((1, 32, 32, 3), np.uint8), index=np.zeros(5, np.int64))
    assert [len(rows) for rows in big.chunks(8)] == [2, 2, 1]  # four patches of 16 x 16 each
    assert [len(rows) for rows in big.chunks(1)] == [1] * 5


def test_a_view_depends_on_seed_step_row_and_column_and_on_nothing_else() -> None:
    rows = np.array([7, 3, 900])
    views = random_views(rows, 0.2, seed=1, step=5, column=0)
    alone = random_views(rows[1:2], 0.2, seed=1, step=5, column=0)
    assert (views[1] == alone[0]).all()  # whoever holds the other rows
    others = [
        random_views(rows, 0.2, seed=2, step=5, column=0),
        random_views(rows, 0.2, seed=1, step=6, column=0),
        random_views(rows, 0.2, seed=1, step=5, column=1),
    ]
    assert all((views != other).any(axis=(1, 2)).all() for other in others)
    zoom, moved = views[:, 0, 0], views[:, :, 2]
    assert ((zoom >= 0.8) & (zoom <= 1.25)).all()
    assert (np.abs(moved) <= 0.2).all()


def test_words_are_splitmix64() -> None:
    # the first outputs of the reference implementation for seed 0 (Vigna, splitmix64.c)
    assert words(0)[0] == 0xE220A8397B1DCDAF
    found = words(3, np.arange(4096))
    assert len(np.unique(found)) == 4096
    assert abs((found >> np.uint64(63)).mean() - 0.5) < 0.03
