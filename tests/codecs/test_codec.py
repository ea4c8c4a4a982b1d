import json

import faiss
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.decomposition import PCA

from tempembed.codecs.basis import normalized
from tempembed.codecs.codec import Codec
from tempembed.codecs.integers import Integers
from tempembed.codecs.lab import Documents
from tempembed.codecs.sets import lab_specs
from tempembed.codecs.spec import parse_spec
from tempembed.system.errors import UserError

WIDTH = 60  # no multiple of 8


@pytest.fixture(scope="module")
def documents():
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(2, 0.1, WIDTH)[torch.randperm(WIDTH, generator=generator)]
    return torch.randn(700, WIDTH, generator=generator) * scales + 0.3


SPECS = [
    "float32", "prefix:33+float16", "random:20:2+int8", "variance:17+int4", "pca:24+int8", "whiten:12", "binary",
    "prefix:13+median", "rotated", "pca:24+itq", "prefix:40+pq:10", "int4",
]  # fmt: skip


def fit(text, documents):
    return Codec.fit(parse_spec(text, WIDTH), documents)


@pytest.mark.parametrize("text", SPECS)
def test_bytes_are_those_stored_and_a_saved_codec_is_the_same_to_the_bit(text, documents, tmp_path):
    codec = fit(text, documents)
    codes = codec.encode(documents)
    assert codes.nbytes == len(documents) * codec.spec.search_bytes
    codec.save(tmp_path)
    loaded = Codec.load(tmp_path)
    assert loaded.spec == codec.spec
    assert torch.equal(loaded.encode(documents), codes)
    assert torch.equal(loaded.score(documents[:9] + 0.1, codes), codec.score(documents[:9] + 0.1, codes))


@pytest.mark.parametrize("text", SPECS)
def test_a_document_is_nearest_to_itself(text, documents):
    codec = fit(text, documents)
    found = codec.score(documents[:100], codec.encode(documents)).argmax(1)
    assert (found == torch.arange(100)).float().mean() > (
        0.5 if codec.spec.is_bits and codec.spec.width < 20 else 0.95
    )


def test_sign_bits_are_hamming(documents):
    codec = fit("prefix:13+binary", documents)
    bits = documents[:, :13] > 0
    hamming = (bits[:5, None] != bits[None]).sum(2)
    assert torch.equal(codec.score(documents[:5], codec.encode(documents)), 13.0 - 2 * hamming)


def test_median_bits_are_balanced(documents):
    share = (fit("median", documents).reconstruct(documents) > 0).float().mean(0)
    assert (share - 0.5).abs().max() < 0.01
    assert (fit("binary", documents).reconstruct(documents) > 0).float().mean() > 0.55


def test_pca_is_scikit_learns(documents):
    codec = fit("pca:24", documents)
    want = normalized(
        torch.from_numpy(
            PCA(24, svd_solver="full").fit_transform(normalized(documents).double().numpy())
        ).float()
    )
    got = codec.reconstruct(documents)
    assert torch.allclose(
        (got * want).sum(0).abs() / got.norm(dim=0) / want.norm(dim=0), torch.ones(24), atol=1e-4
    )
    # whitened coordinates have equal variance before they are normalised
    basis = fit("whiten:12", documents).basis
    assert torch.allclose(basis.apply(normalized(documents)).var(0)[:12], torch.ones(12), atol=0.02)


def test_variance_takes_the_largest(documents):
    order = fit("variance:5", documents).basis.order_K[:5]
    assert set(order.tolist()) == set(normalized(documents).var(0).topk(5).indices.tolist())


def test_integers_err_by_half_a_step(documents):
    cut = normalized(documents)
    codec = fit("int8", documents)
    step = codec.numbers.state["step"]
    assert ((codec.reconstruct(documents) - cut).abs() <= step / 2 + 1e-6).all()
    assert torch.allclose(step, (cut.amax(0) - cut.amin(0)) / 255)
    # clipping the range is worth it for 16 levels: less squared error than over the whole range
    whole = (cut.amax(0) - cut.amin(0)) / 15
    plain = cut.amin(0) + ((cut - cut.amin(0)) / whole).round() * whole
    assert (fit("int4", documents).reconstruct(documents) - cut).square().sum() < (plain - cut).square().sum()
    # a query outside of the documents' range is clipped, not wrapped
    assert torch.isfinite(codec.encode(100 * torch.eye(WIDTH)).float()).all()
    outside = codec.numbers.encode(torch.full((1, WIDTH), 9.0))
    assert (outside == 255).all()


def test_itq_quantises_better_than_a_random_rotation(documents):
    itq, rotated = fit("pca:24+itq", documents), fit("pca:24+rotated", documents)
    cut = itq.cut(documents)

    def error(codec):
        values = codec.numbers.project(cut)
        scale = values.abs().mean()
        return (values / scale - torch.where(values > 0, 1.0, -1.0)).square().mean()

    assert error(itq) < error(rotated)
    rotation = itq.numbers.state["rotation"]
    assert torch.allclose(rotation @ rotation.T, torch.eye(24), atol=1e-4)


def test_product_quantisation_is_faiss(documents):
    codec = fit("prefix:40+pq:10", documents)
    index = faiss.IndexPQ(40, 10, 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(codec.numbers.state["centroids"].numpy().ravel(), index.pq.centroids)
    index.is_trained = True
    cut, codes = codec.cut(documents), codec.encode(documents)
    np.testing.assert_array_equal(codes, index.pq.compute_codes(cut.numpy()))
    np.testing.assert_allclose(codec.numbers.decode(codes), index.pq.decode(codes.numpy()), rtol=0, atol=0)
    index.add(cut.numpy())
    scores, ids = index.search(cut[:9].numpy(), 5)
    np.testing.assert_allclose(
        codec.score(documents[:9], codes).gather(1, torch.from_numpy(ids)), scores, atol=1e-5
    )


def test_codecs_are_fitted_on_documents_alone(documents):
    for text in ("pca:8+int8", "median", "pca:24+itq"):
        first, second = fit(text, documents), fit(text, documents)
        queries = torch.randn(50, WIDTH)
        first.score(queries, first.encode(documents))
        assert torch.equal(first.encode(documents), second.encode(documents))


def test_constant_dimensions_and_zero_vectors(documents):
    odd = documents.clone()
    odd[:, 3] = 0.0
    odd[7] = 0.0
    for text in SPECS:
        codec = fit(text, odd)
        assert codec.score(odd[:3], codec.encode(odd)).isfinite().all(), text
    assert (fit("float32", odd).reconstruct(odd)[7] == 0).all()
    assert (fit("int8", odd).reconstruct(odd)[:, 3] == 0).all()
    equal = torch.ones(300, WIDTH)
    for text in ("int8", "int4", "binary", "median", "itq", "variance:3"):
        assert fit(text, equal).reconstruct(equal).isfinite().all(), text


def test_a_codec_is_fitted_once_for_all_tasks(documents, monkeypatch):
    made, fits = Documents(documents), []
    monkeypatch.setattr(
        Integers, "fit", lambda self, rows, fit=Integers.fit: (fits.append(1), fit(self, rows))
    )
    for _ in range(3):
        assert len(list(made.fit_all([parse_spec("int8", WIDTH), parse_spec("prefix:8+int8", WIDTH)]))) == 2
    assert len(fits) == 2


def test_bad_input_is_refused(documents, tmp_path):
    nan = documents.clone()
    nan[5, 2] = float("nan")
    with pytest.raises(UserError, match="row 5"):
        fit("int8", nan)
    codec = fit("int8", documents)
    with pytest.raises(UserError, match="row 5"):
        codec.encode(nan)
    with pytest.raises(UserError, match="with 60 coordinates"):
        codec.encode(torch.randn(3, 64))
    with pytest.raises(UserError, match="at least 30 directions, got 9"):
        fit("pca:30", documents[:10])
    with pytest.raises(UserError, match="256 documents"):
        fit("pq:10", documents[:100])
    with pytest.raises(UserError, match="got none"):
        fit("int8", documents[:0])
    with pytest.raises(UserError, match="expected a folder with"):
        Codec.load(tmp_path / "none")


def test_a_damaged_codec_is_refused(documents, tmp_path):
    codec = fit("pca:8+int8", documents)
    codec.save(tmp_path)
    tensors = load_file(tmp_path / "codec.safetensors")
    save_file({name: t for name, t in tensors.items() if "step" not in name}, tmp_path / "codec.safetensors")
    with pytest.raises(UserError, match="expected the tensors of pca:8"):
        Codec.load(tmp_path)
    codec.save(tmp_path)
    whole = (tmp_path / "codec.safetensors").read_bytes()
    (tmp_path / "codec.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="could not"):
        Codec.load(tmp_path)
    codec.save(tmp_path)
    (tmp_path / "codec.json").write_text(json.dumps({"codec": "pca:800+int8", "coordinates": 60}))
    with pytest.raises(UserError, match="60 coordinates"):
        Codec.load(tmp_path)


def test_fitted_together_is_fitted_alone(documents):
    specs = [spec for spec in lab_specs(WIDTH) if spec.numbers != "pq"]
    seen = []
    for same, fitted in Documents(documents).fit_all(specs):
        seen += same
        alone = Codec.fit(same[0].search, documents)
        together, by_itself = fitted.codec.reconstruct(documents), alone.reconstruct(documents)
        differ = (together - by_itself).abs() > 1e-4  # rounding may move a value over the edge of its step
        assert differ.float().mean() < 1e-3, same
        torch.testing.assert_close(fitted.documents_MK, alone.cut(documents), rtol=0, atol=1e-5)
    assert sorted(map(str, seen)) == sorted(map(str, specs))
    wanted = [parse_spec("pca:30", WIDTH), parse_spec("int8", WIDTH)]
    few = {str(same[0]): fitted for same, fitted in Documents(documents[:10]).fit_all(wanted)}
    assert isinstance(few["pca:30+float32"], UserError)
    assert not isinstance(few["prefix:60+int8"], UserError)
    assert np.isfinite(few["prefix:60+int8"].documents_MK.numpy()).all()
