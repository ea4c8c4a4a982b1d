"""What explains a run that made its model worse, measured on a batch of its own pairs: before training, and after."""

import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.basis import normalized
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.load import load_encoder
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.probe import Probe
from tempembed.evaluation.retrieval import Retrieval
from tempembed.evaluation.statistics import Statistic, interval, resample_counts
from tempembed.geometry.negatives import influence
from tempembed.inputs.inputs import Inputs
from tempembed.inputs.tokens import Tokens
from tempembed.settings.train import TrainSettings
from tempembed.stages.initial_encoder import initial_encoder
from tempembed.stages.prepared import Prepared
from tempembed.tuning.causes import Evidence

MOST_ROWS = 256
COPY = 0.95
"""Cosine from which on two documents are near copies."""


def gather_evidence(
    settings: TrainSettings,
    prepared: Prepared,
    part: tuple[Corpus, Inputs, Inputs],
    output: Path,
    *,
    steps: int,
    masked_per_step: float,
) -> Evidence:
    """Measure what `causes` asks for.

    Args:
        settings: of the run, which began with a loaded model.
        prepared: its data.
        part: what the verdict is of.
        output: the trained model's folder.
        steps: that its weights are of.
        masked_per_step: negatives that were masked, over all ranks.
    """
    start, end = initial_encoder(settings, prepared), load_encoder(str(output))
    num_pairs, batch_size = prepared.meta["num_pairs"], settings.batches.batch_size
    rows = np.random.default_rng(0).permutation(num_pairs)[: min(batch_size, MOST_ROWS)]
    queries, documents = prepared.queries.select(rows), prepared.documents.select(rows)
    ids = torch.from_numpy(prepared.text_ids["document"][rows])
    q, d = (normalized(start.embed(each)) for each in (queries, documents))
    after_q, after_d = (normalized(end.embed(each)) for each in (queries, documents))
    temperatures = sorted({term.temperature for term in settings.loss.resolved_terms(start.width)})
    found = influence(q, d, temperatures) if len(rows) > 2 else []
    limit, cut = _cut(settings, start, prepared.documents)
    width = min(d.shape[1], after_d.shape[1])
    return Evidence(
        right_before_train=behind_the_right_one(q, d, ids),
        right_after_train=behind_the_right_one(after_q, after_d, ids),
        right_before_measured=_right_of_part(start, part, len(rows)),
        kept_cosine=(normalized(d[:, :width]) * normalized(after_d[:, :width])).sum(1).mean().item(),
        num_negatives=len(rows) - 1,
        effective={one.temperature: one.effective for one in found} or {temperatures[0]: 1.0},
        hardest_share={one.temperature: one.hardest for one in found} or {temperatures[0]: 1.0},
        copies=share_with_copies(d, ids),
        masked=masked_per_step / (batch_size * (batch_size - 1)),
        num_pairs=num_pairs,
        passes=steps * batch_size / num_pairs,
        cut=cut,
        limit=limit,
        own_prompts=_own_prompts(settings, start, part),
        learning_rate=settings.peak_learning_rate(is_table=start.is_table),
    )


def behind_the_right_one(
    queries_BD: Float[Tensor, "B D"], documents_BD: Float[Tensor, "B D"], ids_B: Tensor
) -> float:
    """Share of the other documents that are less like a query than its own, half of those that are as like; 1/2 is chance.

    Args:
        queries_BD: unit vectors.
        documents_BD: unit vectors; row i belongs to query i.
        ids_B: equal for equal documents, which are no others.
    """
    similarity = queries_BD @ documents_BD.T
    is_other = ids_B[:, None] != ids_B
    own = similarity.diagonal()[:, None]
    before = (own > similarity).double() + 0.5 * (own == similarity).double()
    return before[is_other].mean().item() if is_other.any() else 0.5


def share_with_copies(documents_BD: Float[Tensor, "B D"], ids_B: Tensor) -> float:
    """Share of the documents that have a near copy among the others; the same text, which is masked in training, is none."""
    similarity = documents_BD @ documents_BD.T
    similarity[ids_B[:, None] == ids_B] = -1
    return (similarity.max(1).values > COPY).double().mean().item()


def _right_of_part(start: Encoder, part: tuple[Corpus, Inputs, Inputs], num: int) -> float:
    """`behind_the_right_one` of the start on as many pairs of what is measured."""
    corpus, queries, documents = part
    rows = np.random.default_rng(0).permutation(len(corpus.queries))[:num]
    right = np.array([corpus.relevant[row][0] for row in rows])
    q, d = normalized(start.embed(queries.select(rows))), normalized(start.embed(documents.select(right)))
    return behind_the_right_one(q, d, torch.from_numpy(right))


def _cut(settings: TrainSettings, start: Encoder, documents: Inputs) -> tuple[int | None, float]:
    """A limit of training that is below the model's own, and the share of documents that it cuts."""
    limit = settings.model.limits.get("document")
    if not isinstance(documents, Tokens) or limit is None or (start.max_tokens or limit + 1) <= limit:
        return None, 0.0
    # of a bag the tokens are counted, not their kinds
    ends = documents.offsets if documents.counts is None else np.append(0, np.cumsum(documents.counts))[documents.offsets]  # fmt: skip
    return limit, float((np.diff(ends) >= limit).mean())


def _own_prompts(
    settings: TrainSettings, start: Encoder, part: tuple[Corpus, Inputs, Inputs]
) -> tuple[float, float, float] | None:
    """What the start gains by its own prompts on a part of the data, with a paired interval; None where the run has these."""
    if not settings.model.prompts:
        return None
    plain = load_encoder(settings.model.encoder, pooling=settings.model.pooling)
    if plain.role_rules() == start.role_rules():
        return None
    corpus = Probe(part).corpus

    def score(encoder: Encoder) -> Statistic:
        queries = encoder.prepare(corpus.queries, encoder.role("query"))
        documents = encoder.prepare(corpus.documents, encoder.role("document"))
        return Probe((corpus, queries, documents)).statistics(encoder)[f"probe/{Retrieval.metric}"]

    own, asked = score(plain), score(start)
    counts = resample_counts("prompts", own.num_items)
    low, high = interval(own.resampled(counts) - asked.resampled(counts))
    return own.value - asked.value, low, high


def last_of(metrics: Path, name: str) -> float:
    """The last value of a metric in a run's metrics.jsonl; 0 where it has none."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    values = (json.loads(line).get(name) for line in reversed(lines) if line.endswith("}"))
    return float(next((value for value in values if value is not None), 0.0))
