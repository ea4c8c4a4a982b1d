import re
from dataclasses import replace

import pytest
import torch

from tempembed.codecs.sets import paper_specs
from tempembed.codecs.spec import parse_spec
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.report import Skipped
from tempembed.geometry.measure import geometry
from tempembed.geometry.tsne import frequent_rows, tsne
from tempembed.reports.geometry import influence_picture, spectrum_picture, tsne_picture
from tempembed.reports.model_page import kept_picture, write_model_page

M, D = 240, 64
LABELS = [f"group {i % 4}" for i in range(M)]


@pytest.fixture(scope="module")
def documents():
    """Four groups."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, D, generator=generator).repeat(M // 4, 1)
    return torch.nn.functional.normalize(centres + 0.8 * torch.randn(M, D, generator=generator), dim=1)


def measured(documents, specs=paper_specs):
    corpus = Corpus(
        queries=[f"q{i}" for i in range(60)], documents=[f"d{i}" for i in range(M)],
        relevant=[[i] for i in range(60)], labels=LABELS,
    )  # fmt: skip
    noise = torch.randn(60, D, generator=torch.Generator().manual_seed(1)) / 8
    rows = {**dict(zip(corpus.documents, documents, strict=True)), **dict(zip(corpus.queries, documents[:60] + noise, strict=True))}  # fmt: skip
    return evaluate(
        corpus.tasks(), lambda texts, role, prompt: torch.stack([rows[text] for text in texts]), model="runs/<one>", specs=specs,
        labels=corpus.labels,
    ).report  # fmt: skip


def drawn(text):
    """The words of the pictures; matplotlib draws letters as curves and leaves the text in a comment."""
    return re.findall(r"<!-- (.*?) -->", text)


def test_the_page_has_the_scores_the_measures_and_the_pictures(documents, tmp_path):
    report = measured(documents)
    skipped = (Skipped(task="clustering", spec="pq:8", why="expected <256> documents"),)
    report = replace(report, skipped=skipped)
    path = tmp_path / "report.html"
    write_model_page(report, path, (tsne(documents), LABELS))
    text = path.read_text()
    assert text.count("<svg") == 4
    assert "&lt;one&gt;: what it scores" in text
    assert "expected &lt;256&gt; documents" in text
    for row in report.scores:
        assert f"<td>{row.spec}</td><td>{row.bytes_per_vector}</td><td>{row.score:.4f}</td>" in text
    assert f"<td>pca95</td><td>{report.geometry['pca95']}</td>" in text
    words = drawn(text)
    for word in (
        "retrieval",
        "pair classification",
        "sign bits, top 100 re-ranked",
        "random vectors",
        "group 3 (60)",
    ):
        assert word in words
    assert not re.search(r'(src|href)="https?://', text)


def test_a_page_without_labels_widths_or_queries(documents, tmp_path):
    report = measured(documents, specs=lambda full: [parse_spec("int8", full)])
    assert kept_picture(report.means) is None
    for name in ("influence", "spectrum"):
        del report.geometry[name]
    write_model_page(report, tmp_path / "report.html")
    assert "<svg" not in (tmp_path / "report.html").read_text()


def test_figure_1_has_a_line_for_each_temperature_and_names_what_counts(documents):
    found = geometry(documents, (documents.roll(4, 0), documents))
    words = drawn(influence_picture(found["influence"]))
    for temperature in ("0.03", "0.06", "0.1", "0.2", "0.4"):
        for key in ("model", "random"):
            count = found["influence"][key][temperature]["effective"]
            assert f"τ = {temperature}: {count:.0f} count" in words
    assert words.index("random vectors") < words.index("this model")


def test_spectra_of_several_models(documents):
    one, two = geometry(documents), geometry(documents[:, :32].contiguous())
    alone = drawn(spectrum_picture({"one": one}))
    assert f"95 %: {one['pca95']} components," in alone
    assert f"of random vectors {one['pca95_random']}" in alone
    assert {"one", "_two"} <= {word.strip() for word in drawn(spectrum_picture({"one": one, "_two": two}))}


def test_tsne_keeps_groups_together_and_is_seeded(documents):
    points = tsne(documents)
    assert torch.equal(points, tsne(documents))
    distances = torch.cdist(points, points).fill_diagonal_(torch.inf)
    nearest = distances.argmin(1)
    assert (nearest % 4 == torch.arange(M) % 4).float().mean() > 0.95
    assert tsne(documents[:19]) is None
    assert tsne(documents[:1].repeat(50, 1)) is None
    assert tsne(torch.zeros(50, D)) is None
    doubled = torch.cat([documents[:1].repeat(30, 1), documents[1:2].repeat(30, 1)])
    assert tsne(doubled).isfinite().all()


def test_rows_of_the_most_frequent_labels():
    labels = [None, "a", "b", "a", "c", "b", "a", None]
    assert frequent_rows(labels, 2) == [1, 2, 3, 5, 6]
    assert frequent_rows(labels, 9, 3) == sorted(set(frequent_rows(labels, 9, 3)))
    assert len(frequent_rows(labels, 9, 3)) == 3
    assert frequent_rows([None, None]) == frequent_rows([]) == []


def test_labels_that_a_legend_would_misread():
    names = ["_hidden", "$x^{$", "a--> <b>", "x" * 80]
    text = tsne_picture(torch.randn(8, 2), names * 2)
    assert text.count("<svg") == 1
    words = "\n".join(drawn(text))
    assert "_hidden (2)" in words
    assert "…" in words
    assert "<b>" not in text
