"""Masks are a function of (seed, step, position): exact counts, no special token, the same for any worker."""

import numpy as np
import pytest

from tempembed.inputs.masking import HELD_OUT, MASKS, Masking

IDS = np.random.default_rng(0).integers(5, 100, (40, 64))
IDS[:, 0], IDS[:, 30], IDS[:, 31], IDS[5, 40:] = 2, 3, 2, 0


def masking(**changes):
    values = {
        "share": 0.3,
        "style": "mask",
        "mask_id": 4,
        "special_ids": (0, 1, 2, 3, 4),
        "vocabulary": 100,
        "seed": 7,
    }
    return Masking(**{**values, **changes})


@pytest.mark.parametrize("share", [0.15, 0.3, 0.001])
def test_each_sequence_has_an_exact_number_of_masks_and_none_on_special_tokens(share):
    masked, chosen = masking(share=share).chosen(IDS, purpose=MASKS, step=3)
    is_text = IDS > 4
    assert chosen.sum(1).tolist() == np.maximum(1, np.rint(share * is_text.sum(1))).tolist()
    assert not chosen[~is_text].any()
    assert (masked[chosen] == 4).all()
    assert np.array_equal(masked[~chosen], IDS[~chosen])


def test_any_part_of_the_batch_has_the_masks_of_the_whole():
    for style in ("mask", "bert"):
        whole = masking(style=style).chosen(IDS, purpose=MASKS, step=3)
        for first, last in ((0, 13), (13, 40)):
            part = masking(style=style).chosen(IDS[first:last], purpose=MASKS, step=3, first=first)
            assert all(np.array_equal(a, b[first:last]) for a, b in zip(part, whole, strict=True))


def test_masks_are_others_at_another_step_seed_position_or_purpose():
    _, chosen = masking().chosen(IDS, purpose=MASKS, step=3)
    others = [
        masking().chosen(IDS, purpose=MASKS, step=4), masking(seed=8).chosen(IDS, purpose=MASKS, step=3),
        masking().chosen(IDS, purpose=MASKS, step=3, first=1), masking().chosen(IDS, purpose=HELD_OUT, step=3),
    ]  # fmt: skip
    for _, other in others:
        assert 0.2 < (chosen & other).sum() / chosen.sum() < 0.4  # as by chance


def test_every_token_is_as_likely():
    ids = np.full((400, 50), 9)
    _, chosen = masking().chosen(ids, purpose=MASKS, step=0)
    assert abs(chosen.mean(0) - 0.3).max() < 0.1
    assert chosen.mean() == pytest.approx(0.3)


def test_eighty_ten_ten():
    ids = np.random.default_rng(1).integers(5, 100, (500, 200))
    masked, chosen = masking(style="bert").chosen(ids, purpose=MASKS, step=0)
    became, was = masked[chosen], ids[chosen]
    assert (became == 4).mean() == pytest.approx(0.8, abs=0.01)
    assert (became == was).mean() == pytest.approx(0.1 + 0.1 / 95, abs=0.01)
    drawn = became[(became != 4) & (became != was)]
    assert drawn.min() == 5
    assert drawn.max() == 99
    assert len(np.unique(drawn)) == 95
    assert np.array_equal(masked[~chosen], ids[~chosen])


def test_a_sequence_of_special_tokens_has_no_mask():
    masked, chosen = masking().chosen(np.full((2, 8), 2), purpose=MASKS, step=0)
    assert not chosen.any()
    assert (masked == 2).all()
