"""A cheap look at a model in mid-training: retrieval on a part of the test, in full and at byte budgets."""

from collections.abc import Sequence
from random import Random

import numpy as np

from tempembed.codecs.lab import Documents
from tempembed.codecs.sets import probe_specs
from tempembed.codecs.spec import Spec
from tempembed.encoders.encoder import Encoder
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.own_text import own_texts
from tempembed.evaluation.retrieval import Retrieval
from tempembed.inputs.tokens import Tokens
from tempembed.system.errors import UserError

NUM_QUERIES, NUM_DOCUMENTS = 500, 3_000


class Probe:
    """500 queries against 3,000 documents, theirs among them; the same for every model on this test."""

    def __init__(self, test: tuple[Corpus, Tokens, Tokens], budgets: Sequence[int]) -> None:
        corpus, queries, documents = test
        rng = Random(0)
        rows = sorted(rng.sample(range(len(corpus.queries)), min(NUM_QUERIES, len(corpus.queries))))
        right = {document for row in rows for document in corpus.relevant[row]}
        rest = [i for i in range(len(corpus.documents)) if i not in right]
        others = rng.sample(rest, min(len(rest), max(0, NUM_DOCUMENTS - len(right))))
        chosen = sorted([*right, *others])
        place = {document: i for i, document in enumerate(chosen)}
        self._budgets = budgets
        self._queries, self._documents = queries.select(np.array(rows)), documents.select(np.array(chosen))
        asked, searched = [corpus.queries[row] for row in rows], [corpus.documents[i] for i in chosen]
        relevant = [{place[d]: 1.0 for d in corpus.relevant[row]} for row in rows]
        self._task = Retrieval(
            name="probe", queries=asked, documents=searched, relevant=relevant,
            excluded=own_texts(asked, searched, relevant),
        )  # fmt: skip

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """`probe/ndcg_at_10`, and for each budget `probe/score_at_N_bytes` and `probe/retention_at_N_bytes`."""
        embedded = encoder.embed(self._queries), Documents(encoder.embed(self._documents))
        full = Spec(width=encoder.width)
        by_budget = {budget: probe_specs(encoder.width, budget) for budget in self._budgets}
        specs = dict.fromkeys([full, *(spec for specs in by_budget.values() for spec in specs)])
        scores = {
            spec: found.value
            for spec, found in self._task.measure(*embedded, list(specs))
            if not isinstance(found, UserError)
        }
        measured = {"probe/ndcg_at_10": scores[full]}
        for budget, able in by_budget.items():
            best = max((scores[spec] for spec in able if spec in scores), default=0.0)
            measured[f"probe/score_at_{budget}_bytes"] = best
            measured[f"probe/retention_at_{budget}_bytes"] = best / max(scores[full], 1e-12)
        return measured
