"""docs/extending/codec.md, done: a codec from outside the package, from its code to a search in an exported folder."""

from itertools import combinations
from typing import ClassVar

import pytest
import torch

from tempembed.codecs.codec import Codec
from tempembed.codecs.numbers import NUMBERS, NumberCodec, register
from tempembed.codecs.packing import pack, unpack
from tempembed.codecs.sets import budget_specs, lab_specs, sweep_specs
from tempembed.codecs.spec import parse_spec
from tempembed.encoders.load import load_encoder
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.evaluation.choice import choices, pareto
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.report_files import REPORT, load_evaluation, write_report
from tempembed.export.export import FitOn, Source, export
from tempembed.export.provenance import Provenance
from tempembed.index.compressed import build_index, open_index
from tempembed.index.exported import load_exported
from tempembed.index.nearest import search_index
from tempembed.reports.codecs_page import codec_text, write_codecs_page
from tempembed.reports.model_page import write_model_page
from tempembed.system.errors import UserError

WIDTH = 64


class Ternary(NumberCodec):
    """-1, 0 or 1: what is nearer to zero than its dimension's median is 0."""

    name = "ternary"
    title = "ternary digits"
    family = "two bits"
    bits = 2
    sweep_methods: ClassVar = ("prefix",)

    @property
    def shapes(self):
        """As in NumberCodec."""
        return {"threshold": (self.width,)}

    def fit(self, documents_MK):
        """Medians of the absolute values."""
        self.state = {"threshold": documents_MK.abs().median(0).values}

    def encode(self, documents_MK):
        """Two bits a coordinate."""
        threshold = self.state["threshold"]
        return pack(torch.cat([documents_MK > threshold, documents_MK < -threshold], dim=1))

    def decode(self, codes):
        """The digits."""
        positive, negative = unpack(codes, 2 * self.width).float().chunk(2, dim=1)
        return positive - negative


@pytest.fixture(scope="module", autouse=True)
def ternary():
    register(Ternary)
    yield
    del NUMBERS["ternary"]


@pytest.fixture(scope="module")
def texts():
    words = (
        "open close merge sort invert count render matrix socket parser calendar image queue return".split()
    )
    return [" ".join(some) for some in combinations(words, 3)]


@pytest.fixture(scope="module")
def folder(texts, tmp_path_factory):
    """A model with its report, as a run leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    static_encoder(train_tokenizer(texts, 300), width=WIDTH, max_tokens=32, seed=0).save(folder)
    encoder = load_encoder(str(folder))
    corpus = Corpus(
        queries=[text.upper() for text in texts[:50]], documents=texts, relevant=[[i] for i in range(50)]
    )
    found = evaluate(
        corpus.tasks(),
        lambda texts, role, prompt: encoder.embed(encoder.prepare(texts, encoder.role(role))),
        model=str(folder),
        specs=lambda full: [
            parse_spec(text, full) for text in ("prefix:16+ternary", "pca:8+ternary", "ternary")
        ],
    )
    write_report(found, folder / REPORT)
    return folder


def test_codes_are_as_large_as_it_says_and_come_back(tmp_path):
    documents = torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(0))
    codec = Codec.fit(parse_spec("pca:24+ternary", WIDTH), documents)
    codes = codec.encode(documents)
    assert codes.nbytes == len(documents) * codec.spec.search_bytes == 300 * 6
    codec.save(tmp_path)
    assert torch.equal(Codec.load(tmp_path).score(documents[:5], codes), codec.score(documents[:5], codes))
    assert codec.score(documents[:50], codes).argmax(1).tolist() == list(range(50))


def test_the_laboratory_and_sweeps_measure_it():
    assert "prefix:64+ternary" in map(str, lab_specs(128))
    assert "prefix:64+ternary" in map(str, budget_specs(128, (16,)))
    assert "prefix:64+ternary" in map(str, sweep_specs(128, (16,)))
    with pytest.raises(UserError, match=r"\|pq:NUMBER\|ternary"):
        parse_spec("quaternary", 128)


def test_the_report_the_plots_and_the_tables_have_it(folder, tmp_path):
    found = load_evaluation(folder / REPORT)
    report, rows = found.report, found.report.scores
    kept = {row.spec: row.retention for row in rows}
    assert 0.3 < kept["prefix:64+ternary"] <= 1
    assert {row.codec for row in rows} == {"float32", "ternary", "pca_ternary"}
    write_model_page(report, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<!-- ternary digits -->" in text  # in the picture of what is kept by width
    assert "<td>prefix:16+ternary</td><td>4</td>" in text
    best = choices(rows, found.replicates, (16,))
    assert best[0].best.codec in ("ternary", "pca_ternary")
    assert best[0].best.spec in codec_text(best, rows)
    write_codecs_page(report, rows, pareto(rows), best, tmp_path / "codecs.html")
    assert "<!-- two bits -->" in (tmp_path / "codecs.html").read_text()


def test_it_is_exported_and_searched_with(folder, texts, tmp_path):
    source = Source.of_folder(folder, Provenance(codec="ternary"))
    export(source, tmp_path / "model", lambda: FitOn(texts=texts))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "stores 16 bytes a document" in card
    assert "The codec was fitted on documents" in card
    assert "Codec.load" in (tmp_path / "model" / "example.py").read_text()
    exported = load_exported(tmp_path / "model")

    class Given:
        source, fingerprint = "texts", "f"

        def chunks(self):
            yield texts

    build_index(exported, Given(), tmp_path / "index")
    assert (tmp_path / "index" / "codes.bin").stat().st_size == 16 * len(texts)
    hits = search_index(open_index(tmp_path / "index", exported), [texts[7]], 3)
    assert hits[0][0].text == texts[7]


def test_a_plugin_is_known_to_the_command_line(folder, tmp_path, monkeypatch):
    (tmp_path / "my_codec.py").write_text(
        "from tempembed.codecs.integers import Integers\n"
        "from tempembed.codecs.numbers import register\n"
        "class Nibble(Integers):\n"
        "    name, bits = 'nibble', 4\n"
        "register(Nibble)\n"
    )
    import subprocess
    import sys

    code = "from tempembed.codecs.spec import parse_spec; print(parse_spec('nibble', 64).bytes_per_vector)"
    monkeypatch.setenv("TEMPEMBED_PLUGINS", "my_codec")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:.")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "32\n"


def test_a_name_that_is_taken_is_refused():
    class Mine(Ternary):
        name = "int8"

    with pytest.raises(ValueError, match=r"int8.*expected a new name, Int8 has it"):
        register(Mine)
