import dataclasses
import re

import pytest
import torch

from tempembed.reports.reproduction_page import (
    Setup,
    abstract,
    claims_markdown,
    figures_to,
    report_markdown,
    write_reproduction,
)
from tempembed.reproduction.claims import claims
from tempembed.reproduction.load_results import load_results
from tempembed.reproduction.maps import document_maps, map_groups

FIGURES = (
    "figure1-negatives", "figure2-quality", "figure3-tsne", "figure3-uniformity", "figure4-dimension", "figure5-truncation",
    "figure6-binarisation",
)  # fmt: skip


@pytest.fixture(scope="module")
def results(sweep_folder, tiny):
    return load_results([sweep_folder], tiny)


@pytest.fixture(scope="module")
def setup(results):
    generator = torch.Generator().manual_seed(0)
    labels = [f"package {i % 3}" for i in range(60)]
    groups = map_groups(results.of("static"))
    maps = {group.entry.label: (torch.randn(60, 2, generator=generator), labels) for group in groups}
    return Setup(
        data={"source": "/x/pairs.parquet", "num_pairs": 1234, "fingerprint": "abc"}, hardware="2 cores of <some> CPU",
        versions={"torch": "2.13.0"}, date="2026-11-25", commit="abc1234", maps=maps,
    )  # fmt: skip


def test_the_page_has_everything(results, setup, tmp_path):
    path = tmp_path / "reproduction.html"
    write_reproduction(results, setup, path)
    text = path.read_text()
    assert text.count("<svg") == len(FIGURES)
    assert not re.search(r'(src|href)="https?://', text)
    assert "1,234 pairs of pairs.parquet" in text
    assert "2 cores of &lt;some&gt; CPU" in text
    assert "step 3: &lt;nan&gt;" in text
    findings = claims(results.of("static"))
    main = text[: text.index("Figure 1")]
    for verdict in {f.verdict for f in findings}:
        assert len(re.findall(f"<td class='[a-z ]+'>{verdict}</td>", main)) == sum(
            f.verdict == verdict for f in findings
        )
    for title in (
        "Figure 1", "Figure 2", "Figure 3", "Figure 4", "Figure 5", "Figure 6", "Table 1", "Table 2", "What the reviewers missed",
        "Compression measured on clustering", "A second architecture: transformer", "Spread over seeds", "Cost of a run",
    ):  # fmt: skip
        assert f"<h2>{title}" in text, title
    assert text.count("<h2>Table 2") == 2
    assert "93 % at τ = 0.04, 99 % at 0.4 [R]" in text


def test_the_first_paragraph_counts_the_verdicts(planted):
    def equal(entry, task, spec):
        return 0.6

    findings = claims(planted(equal, lambda entry: 80).of("static"))
    text = abstract(findings, "what Dinu et al. (ICLR 2025) claim")
    holds = sum(f.verdict == "holds" for f in findings)
    assert text.startswith(
        f"Of {len(findings)} tests of what Dinu et al. (ICLR 2025) claim, {holds} end with: holds, "
    )
    assert "MRL raises the full-width score (in 2 of 2 tests)" in text


def test_markdown(results, setup):
    text = claims_markdown(results)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(claims(results.of("static")))
    assert all(line.count("|") - line.count("\\|") == 7 for line in rows)
    text = report_markdown(results, setup, [])
    assert "## Table 2: one temperature and several, V-measure" in text


def test_maps_of_documents(results):
    def embed(folder):
        assert folder.name == "infonce-0.4-seed0"
        return torch.randn(30, 8, generator=torch.Generator().manual_seed(0))

    one = dataclasses.replace(results, groups=(results.group("InfoNCE τ=0.4"),)).of("static")
    ((label, (points, names)),) = document_maps(one, embed, [None, *["a", "b"] * 14, None]).items()
    assert label == "InfoNCE τ=0.4"
    assert points.shape == (28, 2)
    assert names == ["a", "b"] * 14
    assert document_maps(one, embed, []) == {}


def test_figures_as_files(results, setup, tmp_path):
    paths = figures_to(tmp_path / "docs", results, setup.maps)
    assert [p.stem for p in paths[::2]] == list(FIGURES)
    assert all(p.read_bytes()[:4] == b"\x89PNG" for p in paths if p.suffix == ".png")
    assert all("<svg" in p.read_text() for p in paths if p.suffix == ".svg")


def test_what_was_not_measured_is_said(results, setup, tmp_path):
    few = dataclasses.replace(
        results, groups=tuple(group for group in results.groups if group.entry.role == "multi")
    )
    write_reproduction(few, dataclasses.replace(setup, maps={}), tmp_path / "few.html")
    text = (tmp_path / "few.html").read_text()
    assert "<svg" not in text
    assert "needs InfoNCE at two temperatures" in text
    assert "Not measured: a map of the documents." in text
    assert figures_to(tmp_path, few, {}) == []
    assert map_groups(few.of("static")) == []
