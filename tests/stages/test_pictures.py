"""Training on pictures, from the data to a folder that is loaded again."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from tempembed.commands.search import find
from tempembed.commands.train import Train, train_command
from tempembed.data.installed_glyphs import installed_glyphs
from tempembed.encoders.image import IMAGE, TEXT
from tempembed.encoders.load import load_encoder
from tempembed.inputs.picture_store import PictureStore, title_of
from tempembed.inputs.pictures import decoded
from tempembed.parallel.pool import run_on_ranks
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import ContrastiveStage, train_pairs
from tempembed.stages.prepare import prepare, prepare_with_encoder
from tempembed.system.errors import UserError

FACES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono-Oblique")


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    return installed_glyphs(tmp_path_factory.mktemp("glyphs"), faces=FACES, below=0x1C0)


def settings(glyphs, *, pictures=False, **more):
    train, test = (glyphs.pictures_train, glyphs.pictures_test) if pictures else (glyphs.train, glyphs.test)
    return TrainSettings.of(
        **{"data": str(train), "eval_data": str(test), "width": 32, "vocabulary": 300, "batch_size": 32, "steps": 6,
           "objective": "mrl:0.06", "allow_overlap": True, "precision": "float32", **more},
    )  # fmt: skip


def test_the_same_fonts_give_the_same_bytes(glyphs, tmp_path):
    again = installed_glyphs(tmp_path, faces=FACES, below=0x1C0)
    assert again.folder.name == glyphs.folder.name
    for path in glyphs.folder.iterdir():
        assert (again.folder / path.name).read_bytes() == path.read_bytes()


def test_no_character_and_no_picture_is_in_training_and_in_the_test(glyphs):
    train, test = prepare(settings(glyphs)), prepare(settings(glyphs))
    corpus = test.evaluation()[0]
    assert set(train.text_ids["query"]).isdisjoint(_ids(corpus.queries))
    assert set(train.text_ids["document"]).isdisjoint(_ids(corpus.documents))
    assert train.group_ids is not None


def _ids(texts):
    from tempembed.data.text_ids import text_ids

    return set(text_ids(texts))


def test_words_and_pictures_train_end_to_end(glyphs, tmp_path):
    run = settings(glyphs, objective="infonce:learned(0.1)", steps=30)
    train_command(Train(train=run, output=str(tmp_path / "run")))
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert {"modality_gap", "query_pca95", "pca95"} <= report["geometry"].keys()
    page = (tmp_path / "run" / "retrievals.html").read_text()
    assert page.count("data:image/png") > 20
    assert 'href="retrievals.html"' in (tmp_path / "run" / "evaluation.html").read_text()
    encoder = load_encoder(str(tmp_path / "run"))
    assert encoder.modalities == {TEXT, IMAGE}
    hits = find(tmp_path / "run", ["LATIN SMALL LETTER A"], str(glyphs.test), tmp_path / "index", 3)
    assert [title_of(hit.text)[-4:] for hit in hits[0]] == [".png"] * 3
    both = find(
        tmp_path / "run", ["LATIN SMALL LETTER A", hits[0][0].text], str(glyphs.test), tmp_path / "index", 1
    )
    assert [answers[0].text for answers in both] == [hits[0][0].text] * 2  # a picture finds itself
    # the words of a model are sentence-transformers' own; its pictures, where a user lets it import our class
    names = ["GREEK SMALL LETTER ALPHA", "DIGIT ONE"]
    ours = encoder.embed(encoder.prepare(names, encoder.role("query"))).numpy()
    assert np.allclose(
        SentenceTransformer(str(tmp_path / "run" / "text")).encode_query(names), ours, atol=1e-5
    )
    theirs = SentenceTransformer(str(tmp_path / "run"), trust_remote_code=True)
    assert np.allclose(theirs.encode_query(names), ours, atol=1e-5)
    name = hits[0][0].text
    picture = decoded(PictureStore().contents([name])[0])
    own = encoder.embed(encoder.prepare([name], encoder.role("document"))).numpy()
    assert np.allclose(theirs.encode([picture]), own, atol=1e-5)


def test_pictures_alone_need_no_tokenizer(glyphs, tmp_path):
    run = settings(glyphs, pictures=True)
    prepared, encoder = prepare_with_encoder(run)
    assert encoder.modalities == {IMAGE}
    assert not (prepared.folder / "tokenizer.json").exists()
    assert train_pairs(run, prepared, tmp_path / "run", lambda metrics: None)
    assert load_encoder(str(tmp_path / "run")).modalities == {IMAGE}


def gradients(run, prepared):
    """The gradients of a step, by the parameter's name."""
    stage = ContrastiveStage(run, prepared, "cpu")
    output = stage.forward(stage.batch(3, stage.plan.rows(3)), 0.5, stage.trunk)
    output.loss.backward()
    return {name: p.grad for name, p in stage.trunk.named_parameters()}


def test_gradient_caching_sees_the_same_views(glyphs):
    run = settings(glyphs, augment=0.2)
    prepared = prepare(run)
    plain = gradients(run, prepared)
    cached = gradients(
        dataclasses.replace(
            run, batches=dataclasses.replace(run.batches, gradient_cache=True, micro_batch_tokens=20)
        ),
        prepared,
    )
    for name, gradient in plain.items():
        assert torch.allclose(gradient, cached[name], atol=1e-5), name


def test_ranks_see_the_views_of_one_process(glyphs):
    run = settings(glyphs, pictures=True, augment=0.2)
    stage = ContrastiveStage(run, prepare(run), "cpu")
    (whole,) = stage.data.inputs(stage.plan.rows(3), 3)
    parts = [stage.data.inputs(stage.plan.rows(3, rank, 2), 3)[0] for rank in range(2)]
    size = len(whole) // 2
    for side in range(2):  # queries, then documents
        seen = np.concatenate([part.views[side * size // 2 : (side + 1) * size // 2] for part in parts])
        assert (seen == whole.views[side * size : (side + 1) * size]).all()
    assert (whole.views[:size] != whole.views[size:]).any(axis=(1, 2)).all()  # one pair has two views


def reports_of(run, prepared, output):
    """The loss and the gradient's norm of each report."""
    found = []
    train_pairs(run, prepared, output, found.append, device="cpu")
    return [(each["train/loss"], each["train/grad_norm"]) for each in found]


@pytest.mark.gloo
def test_two_ranks_with_a_gradient_cache_learn_what_one_process_does(glyphs, tmp_path):
    run = settings(
        glyphs,
        steps=3,
        log_every=1,
        augment=0.2,
        direction="both",
        gradient_cache=True,
        micro_batch_tokens=40,
    )
    prepared = prepare(run)
    alone = reports_of(run, prepared, tmp_path / "one")
    first, second = run_on_ranks(2, reports_of, run, prepared, tmp_path / "two")
    assert first == second
    assert len(alone) == 3
    assert first == [pytest.approx(each, rel=1e-3) for each in alone]


def test_a_run_that_is_resumed_has_the_bits_of_one_that_was_not(glyphs, tmp_path):
    run = settings(glyphs, objective="infonce:learned(0.1)")
    prepared = prepare(run)
    train_pairs(run, prepared, tmp_path / "one", lambda metrics: None)
    train_pairs(run, prepared, tmp_path / "two", lambda metrics: None, stop_after=3)
    train_pairs(run, prepared, tmp_path / "two", lambda metrics: None, resume=True)
    for name in ("image/model.safetensors", "text/model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("of_pictures", "flags", "message"),
    [
        (
            False,
            {"image_encoder": "convolution", "image_side": 64},
            "expected data with pictures, got texts only",
        ),
        (True, {"image_encoder": "nowhere/at/all"}, "--image-encoder"),
    ],
)
def test_flags_that_cannot_be(of_pictures, flags, message, glyphs, data_dir):
    run = settings(glyphs, **flags)
    if not of_pictures:
        run = TrainSettings.of(data=str(data_dir / "train.parquet"), batch_size=32, **flags)
    with pytest.raises(UserError, match=message):
        prepare(run)


def test_an_encoder_of_texts_refuses_pictures(glyphs, data_dir, tmp_path):
    run = TrainSettings.of(
        data=str(data_dir / "train.parquet"), batch_size=32, steps=1, vocabulary=300, width=16
    )
    train_pairs(run, prepare(run), tmp_path / "text", lambda metrics: None)
    with pytest.raises(UserError, match=r"expected texts, got pictures|takes pictures"):
        prepare(settings(glyphs, pictures=True, encoder=str(tmp_path / "text"), width=None))
