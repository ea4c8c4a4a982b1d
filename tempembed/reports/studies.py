"""What the report of a study has of its own: its words, its tables, its figures."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tempembed.reports.compression_figures import compression_drawings
from tempembed.reports.compression_tables import advice_table, budget_table, explanation_table, form_table
from tempembed.reports.reproduction_figures import Drawing, drawings
from tempembed.reports.reproduction_tables import (
    claims_table,
    comparison_table,
    cost_table,
    objective_table,
    prefix_table,
    sets_table,
    spread_table,
)
from tempembed.reports.table import Table
from tempembed.reproduction.claims import claims
from tempembed.reproduction.compression import COMPARED
from tempembed.reproduction.extras import clustering_claims
from tempembed.reproduction.maps import Maps
from tempembed.reproduction.results import CLUSTERING, RETRIEVAL, Results


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """The parts of a page that differ between studies."""

    title: str
    claims: str
    """Title of the claims."""
    subject: str
    """What the claims are tests of."""
    note: str
    """What is to be said of the method besides."""
    first: Callable[[Results], list[Table]]
    """Tables above the claims; of one encoder, as the others."""
    tables: Callable[[Results], list[Table]]
    """Tables below the figures."""
    drawings: Callable[[Results, Maps], list[Drawing]]


def _of_paper(results: Results) -> list[Table]:
    """The first encoder's, and those of the others."""
    first, *others = results.preset.encoders
    main = results.of(first)
    return [
        prefix_table(main), sets_table(main, RETRIEVAL), sets_table(main, CLUSTERING), objective_table(main), comparison_table(main),
        claims_table(clustering_claims(main), "Compression measured on clustering"), spread_table(main),
        *(table for encoder in others for table in _other_encoder(results.of(encoder), encoder)), cost_table(results),
    ]  # fmt: skip


def _other_encoder(results: Results, encoder: str) -> list[Table]:
    """A second architecture: its scores, and those of the claims that its runs can answer."""
    if not results.groups:
        return []
    findings = [f for f in claims(results) if f.verdict != "not measured"]
    return [
        replace(objective_table(results), title=f"A second architecture: {encoder}"),
        claims_table(findings, f"The claims on the {encoder}"),
    ]


def _of_compression(results: Results) -> list[Table]:
    main = results.of(next(iter(results.preset.encoders)))
    explained = explanation_table(main)
    return [
        form_table(main), comparison_table(main, "What each objective adds to its baseline", COMPARED),
        *([replace(explained, title="What explains what bits keep")] if explained else []),
        spread_table(main, COMPARED), cost_table(results),
    ]  # fmt: skip


STUDIES = {
    "paper": StudyReport(
        title="The paper, reproduced", claims="The paper's claims", subject="what Dinu et al. (ICLR 2025) claim",
        note="The best single τ is chosen by the means on this same test, which favours it. Figures of the paper are quoted where "
        "they are known, with the tag of their source in docs/design/paper.md ([S] a detailed review, [R] a machine-written "
        "review, [H] the reviewers); they are of another model, other data and other tasks.",
        first=lambda results: [], tables=_of_paper, drawings=drawings,
    ),
    "compression": StudyReport(
        title="Trained for what is stored", claims="Claims", subject="what terms on signs are worth",
        note="A target with two numbers holds if the mean reaches the first and the interval the second.",
        first=lambda results: [advice_table(results), budget_table(results)], tables=_of_compression,
        drawings=lambda results, maps: compression_drawings(results),
    ),
}  # fmt: skip
"""By `Preset.study`."""
