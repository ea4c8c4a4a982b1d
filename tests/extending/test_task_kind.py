"""docs/extending/task_kind.md, done: a kind of task from outside the package, measured and reported by the command line."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tempembed.codecs.basis import normalized
from tempembed.commands.evaluate import Evaluate, evaluate_command
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.evaluation.compressed import compressed
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.report import read_report
from tempembed.evaluation.statistics import Mean
from tempembed.evaluation.task import KINDS, Task, metric_title, register
from tempembed.evaluation.trained import kinds_of_runs
from tempembed.system.errors import UserError
from tempembed.tuning.goals import best_row, check_goals


@dataclass(frozen=True, kw_only=True)
class Purity(Task):
    """Has the nearest other document the same label?"""

    labels: list[str]

    kind: ClassVar[str] = "purity"
    metric: ClassVar[str] = "nearest_purity"
    metric_title: ClassVar[str] = "purity"
    items: ClassVar[str] = "documents"
    in_runs: ClassVar[bool] = True

    @classmethod
    def of_corpus(cls, corpus):
        """All documents that have a label."""
        rows = [row for row, label in enumerate(corpus.labels) if label is not None]
        if not rows:
            return None
        documents = [corpus.documents[row] for row in rows]
        return cls(
            name=cls.kind, queries=(), documents=documents, labels=[corpus.labels[row] for row in rows]
        )

    def measure(self, queries_QD, documents, specs):
        """The interval is over the documents."""
        names = sorted(set(self.labels))
        label = torch.tensor([names.index(name) for name in self.labels])
        for spec, vectors in compressed(specs, documents):
            if isinstance(vectors, UserError):
                yield spec, vectors
                continue
            units = normalized(vectors)
            nearest = (units @ units.T).fill_diagonal_(-2).argmax(1)
            yield spec, Mean((label[nearest] == label).double())


@pytest.fixture(autouse=True)
def purity():
    register(Purity)
    yield
    del KINDS["purity"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A model and labelled test pairs."""
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))
    topics = ("red apple pear", "fast car road", "cold snow ice")
    rows = [
        (f"what is {t.split()[i % 3]} {i}", f"{t} number {i} of {i % 7}", t[:3])
        for i in range(40)
        for t in topics
    ]
    columns = dict(zip(("query", "document", "label"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "test.parquet")
    texts = columns["query"] + columns["document"]
    static_encoder(train_tokenizer(texts, 300), width=32, max_tokens=32, seed=0).save(tmp_path / "model")
    return tmp_path


def test_it_is_measured_and_reported(files, capsys):
    command = Evaluate(
        model=str(files / "model"), data=str(files / "test.parquet"), output=str(files / "report.json"),
        codecs=("binary", "prefix:16"),
    )  # fmt: skip
    evaluate_command(command)
    report = read_report(files / "report.json")
    rows = report.of_task("purity")
    assert {row.spec for row in rows} == {"prefix:16+float32", "prefix:32+float32", "prefix:32+binary"}
    assert all(0.5 < row.ci_low <= row.score <= row.ci_high <= 1 for row in rows)
    assert "purity" in {row.kind for row in report.means}
    assert report.data.tasks["purity"].fingerprint
    assert set(report.mteb) == {"retrieval", "clustering", "reranking", "pair_classification"}
    assert "purity" in capsys.readouterr().out
    page = (files / "report.html").read_text()
    assert "<b>purity</b>: nearest_purity" in page
    assert json.loads((files / "report.json").read_text())["data"]["tasks"]["purity"]["kind"] == "purity"
    # a run measures it, and a search may want it
    assert "purity" in kinds_of_runs()
    check_goals(["retrieval", "purity"])
    assert best_row(report, "purity").spec == "prefix:32+float32"
    assert metric_title("nearest_purity") == "purity"


def test_data_that_cannot_have_it_does_without():
    plain = Corpus(queries=["a"], documents=["b", "c"], relevant=[[0]])
    assert [task.kind for task in plain.tasks()] == ["retrieval"]


def test_a_name_that_is_taken_is_refused():
    class Mine(Purity):
        kind = "retrieval"

    with pytest.raises(ValueError, match=r"retrieval.*expected a new name, Retrieval has it"):
        register(Mine)
