"""The model card: what it is, what was measured and how, where it is from, what it cannot do."""

import datetime
import importlib.metadata
from collections.abc import Sequence

from tempembed.codecs.sets import BUDGETS
from tempembed.codecs.spec import Spec
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.role import ROLES
from tempembed.evaluation.kinds import task_kinds
from tempembed.evaluation.report import Report, ScoreRow
from tempembed.evaluation.task import metric_title
from tempembed.export.provenance import Provenance

FRONT = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
- embedding-compression
- tempembed
---
"""
HEAD = ("budget", "codec", "bytes", "score", "95 % interval", "kept", "95 % interval")
GEOMETRY = (
    ("participation_ratio", "participation ratio {:.1f}"), ("twonn", "intrinsic dimension {:.1f} (TwoNN)"),
    ("alignment", "alignment {:.3f}"), ("uniformity", "uniformity {:.2f}"), ("isoscore", "IsoScore {:.3f}"),
)  # fmt: skip


def model_card(
    provenance: Provenance,
    spec: Spec,
    encoder: Encoder,
    report: Report | None,
    code: str,
    fitted_on: str,
) -> str:
    """README.md as the Hub reads it.

    Args:
        provenance: where the model is from.
        spec: of the codec.
        encoder: the model.
        report: as `write_report` wrote it, or None.
        code: the example.
        fitted_on: the documents that the codec learned from; empty if it learns nothing.
    """
    full = 4 * encoder.width
    parts = [
        FRONT
        + f"# {_name(provenance)}: {' and '.join(sorted(encoder.modalities))} embeddings of {spec.bytes_per_vector:,} bytes",
        f"Trained and compressed with tempembed. The codec `{spec}` stores {spec.bytes_per_vector:,} bytes a document; "
        f"the model's own {encoder.width:,} coordinates in float32 take {full:,} "
        f"({full / spec.bytes_per_vector:g} times as much).{_cut(spec, encoder.width)}",
        _table(("", ""), _facts(provenance, encoder)),
        f"## Use\n\n`example.py`, which runs as it is:\n\n```python\n{code.rstrip()}\n```",
        'A file of texts is searched with `tempembed search FOLDER "a query" --texts FILE --index DIR`.',
        "## Measured\n\n"
        + (_measured(report, spec) if report else "No report lay beside the model: nothing is known."),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(spec, encoder, fitted_on)),
    ]
    return "\n\n".join(parts) + "\n"


def _name(provenance: Provenance) -> str:
    return (
        " ".join(filter(None, (provenance.registered_name, provenance.version)))
        or provenance.objective
        or "model"
    )


def _cut(spec: Spec, full: int) -> str:
    if spec.method != "prefix" or spec.width == full:
        return ""
    return f" sentence-transformers cuts to the first {spec.width} coordinates by itself (`truncate_dim` in the folder)."


def _facts(provenance: Provenance, encoder: Encoder) -> list[tuple[str, str]]:
    from_registry = " ".join(filter(None, (provenance.registered_name, "version", provenance.version)))
    alias = f", alias `{provenance.alias}`" if provenance.alias else ""
    marked = f", fingerprint `{provenance.data_fingerprint}`" if provenance.data_fingerprint else ""
    seed = "" if provenance.seed is None else f", seed {provenance.seed}"
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("tempembed", "sentence-transformers", "torch")
    )
    facts = [
        ("objective", f"`{provenance.objective}`" if provenance.objective else ""),
        ("terms (width @ temperature * weight)", ", ".join(f"`{term}`" for term in provenance.terms)),
        (
            "encoder",
            f"{provenance.encoder}, {encoder.width:,} coordinates{seed}" if provenance.encoder else "",
        ),
        ("training data", f"{provenance.data}{marked}" if provenance.data else ""),
        ("test data", provenance.test_data),
        ("registered", f"{from_registry}{alias}" if provenance.version else ""),
        ("MLflow run", f"`{provenance.run_id}`" if provenance.run_id else ""),
        ("exported", f"{datetime.date.today().isoformat()}, {versions}"),
    ]
    return [fact for fact in facts if fact[1]]


def _measured(report: Report, spec: Spec) -> str:
    tasks = list(dict.fromkeys(row.task for row in report.scores))
    tasks.sort(key=lambda task: task != "retrieval")
    parts = []
    for task in tasks:
        rows = report.of_task(task)
        parts += [_heading(rows[0], report), _table(HEAD, _lines(rows, spec, report.width))]
    parts.append(
        "Bytes count all that is stored for a document. Intervals are 95 %, by a paired bootstrap over queries or samples. "
        '"kept" is the share of the model\'s own score at full width in float32. The best codec of a budget was chosen '
        "by these scores among those that were measured; the intervals do not cover this choice, nor the seed."
    )
    if geometry := _geometry(report):
        parts.append(geometry)
    return "\n\n".join(parts)


def _heading(row: ScoreRow, report: Report) -> str:
    kind = task_kinds().get(row.kind)
    items = kind.items if kind else "samples"
    texts = f"{row.num_items:,} {items}"
    if report.data.num_documents:
        texts += f", {report.data.num_documents:,} documents"
    fingerprint = report.data.tasks[row.task].fingerprint
    return f"**{row.task}**, {metric_title(row.metric)}: {texts}; data fingerprint `{fingerprint}`"


def _lines(rows: Sequence[ScoreRow], spec: Spec, full: int) -> list[tuple[str, ...]]:
    """The whole, this folder's codec, and the best codec of each budget."""
    by_spec = {row.spec: row for row in rows}
    lines = []
    if whole := by_spec.get(str(Spec(width=full))):
        lines.append(_line("full", whole))
    # where nothing is searched there is no re-ranking: the codes alone were measured
    if this := by_spec.get(str(spec)) or by_spec.get(str(spec.search)):
        lines.append(_line("**this**", this))
    else:
        lines.append(("**this**", f"`{spec}`", f"{spec.bytes_per_vector:,}", "not measured", "", "", ""))
    for budget in BUDGETS:
        able = [row for row in rows if row.bytes_per_vector <= budget]
        if able:
            best = max(able, key=lambda row: (row.score, -row.bytes_per_vector))
            lines.append(_line(f"{budget}", best))
    return lines


def _line(budget: str, row: ScoreRow) -> tuple[str, ...]:
    kept, interval = "", ""
    if row.retention is not None:
        kept = f"{row.retention:.3f}"
        interval = f"{row.retention_ci_low:.3f} - {row.retention_ci_high:.3f}"
    return (
        budget, f"`{row.spec}`", f"{row.bytes_per_vector:,}", f"{row.score:.4f}",
        f"{row.ci_low:.4f} - {row.ci_high:.4f}", kept, interval,
    )  # fmt: skip


def _geometry(report: Report) -> str:
    found = report.geometry
    parts = [text.format(found[name]) for name, text in GEOMETRY if found.get(name) is not None]
    if "pca95" in found:
        parts.insert(0, f"95 % of the variance in {found['pca95']} of {report.width} dimensions (random vectors: {found['pca95_random']})")  # fmt: skip
    return f"Geometry of {found['n']:,} documents: {', '.join(parts)}." if parts else ""


def _limits(spec: Spec, encoder: Encoder, fitted_on: str) -> list[str]:
    lines = [
        "The scores hold for texts like those of the data above; on others, measure: `tempembed evaluate`."
    ]
    if encoder.is_table:
        lines.append("The encoder is the mean of token embeddings: it does not see the order of words.")
    if num := encoder.max_tokens:
        lines.append(f"Texts are cut after {num} tokens.")
    prompts = {role: encoder.role(role).prompt for role in ROLES}
    if any(prompts.values()):
        put = " and ".join(f"`{prompt}` before a {role}" for role, prompt in prompts.items() if prompt)
        lines.append(
            f"encode_query and encode_document put {put}, as in training; plain encode may not. Cosine compares them."
        )
    else:
        lines.append(
            "Texts are taken as they are, queries and documents alike, without prompts; cosine compares them."
        )
    if fitted_on:
        lines.append(
            f"The codec was fitted on {fitted_on}; fit it again where the documents are of another kind."
        )
    if spec.rerank:
        lines.append(
            f"The score is that of a search whose best {spec.depth} are ordered anew ({spec.rerank}); `tempembed search` does so."
        )
    return lines


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(head)
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])
