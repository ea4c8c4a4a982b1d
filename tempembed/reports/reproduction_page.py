"""The report of a reproduction: one HTML page that reads like a paper's results, and its parts for a README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tempembed.reports.pages import write_page
from tempembed.reports.reproduction_tables import claims_table
from tempembed.reports.studies import STUDIES, StudyReport
from tempembed.reports.table import Table
from tempembed.reproduction.claims import claims
from tempembed.reproduction.finding import Finding
from tempembed.reproduction.maps import Maps
from tempembed.reproduction.results import Results

METHOD = (
    "A run and its baseline share the seed: the first weights, the data and their order. They are measured on the same queries, "
    "and every difference is taken within a seed and within one of 1,000 resamples of the queries. Intervals are 95 %, by a "
    "hierarchical bootstrap: each replicate draws the seeds with replacement as well, stretched by √(S/(S-1)) because S draws of "
    "S seeds vary too little. Few seeds make such intervals too short rather than too long, so each seed's own "
    "effect stands beside them. The intrinsic dimension has no queries: its intervals are Student's t over the seeds. Clustering is "
    "measured on three samples of the documents, and its intervals rest on these. A claim holds if its interval lies beyond zero "
    "(or beyond the margin that is named) in the claimed direction, does not hold if it lies beyond in the other, and "
    "is undecided otherwise; a claim about several differences holds if all of them do. No correction is made for the number of "
    "claims."
)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The hardware, the versions and the data of a reproduction."""

    data: Mapping[str, Any]
    """As in a prepared data set's meta: source, num_pairs, fingerprint."""
    hardware: str
    versions: Mapping[str, str]
    date: str
    commit: str = ""
    maps: Maps = field(default_factory=dict)
    """For Figure 3."""


def write_reproduction(results: Results, setup: Setup, path: Path) -> None:
    """Write the report."""
    main, study = _main(results), _study(results)
    findings = claims(main)
    write_page(
        path, "reproduction", study=study, abstract=abstract(findings, study.subject), setup=_setup(results, setup),
        first=study.first(main), claims=claims_table(findings, ""), method=f"{METHOD} {study.note}",
        drawings=study.drawings(main, setup.maps), tables=study.tables(results), failed=results.failed,
    )  # fmt: skip


def _main(results: Results) -> Results:
    """Those of the first encoder."""
    return results.of(next(iter(results.preset.encoders)))


def _study(results: Results) -> StudyReport:
    return STUDIES[results.preset.study]


def abstract(findings: Sequence[Finding], subject: str) -> str:
    """One paragraph: how many claims hold, which do, which do not."""
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in ("holds", "does not hold", "undecided", "not measured")}  # fmt: skip
    judged = len(findings) - counts["not measured"]
    text = (
        f"Of {judged} tests of {subject}, {counts['holds']} end with: holds, {counts['does not hold']} "
        f"with: does not hold, and {counts['undecided']} with: undecided."
    )
    for verdict, start in (("holds", "What holds"), ("does not hold", "What does not hold"), ("undecided", "Undecided")):  # fmt: skip
        if sentences := _sentences(findings, verdict):
            text += f" {start}: {'; '.join(sentences)}."
    if counts["not measured"]:
        text += f" {counts['not measured']} could not be tested for want of a measurement."
    return text


def _sentences(findings: Sequence[Finding], verdict: str) -> list[str]:
    """Claims with that verdict; of those with several tests, in how many."""
    found = []
    for claim in dict.fromkeys(f.claim for f in findings):
        verdicts = [f.verdict for f in findings if f.claim == claim]
        first = claim.split()[0]
        start = first.lower() if first.istitle() else first  # TempAgg and MRL keep theirs
        count = (
            f" (in {sum(v == verdict for v in verdicts)} of {len(verdicts)} tests)"
            if len(verdicts) > 1
            else ""
        )
        if verdict in verdicts:
            found.append(start + claim[len(first) :] + count)
    return found


def claims_markdown(results: Results) -> str:
    """The claims table for a README, of the first encoder."""
    findings = claims(_main(results))
    rows = tuple(
        (f.key, f.claim, f.verdict, f.effect_text, "\n".join(filter(None, (f.compared, f.detail))), f.paper)
        for f in findings
    )
    head = ("", "claim", "here", "effect (95 %)", "of; values", "the paper")
    return (
        f"{abstract(findings, _study(results).subject)}\n\n{Table(title='', head=head, rows=rows).markdown()}"
    )


def report_markdown(results: Results, setup: Setup, figures: Sequence[Path]) -> str:
    """The tables and figures of the report as Markdown, for docs/.

    Args:
        results: all encoders.
        setup: where and on what it ran.
        figures: pictures beside the document, as `figures_to` returns them.
    """
    study = _study(results)
    parts = [f"# {study.title}", _setup(results, setup).markdown()]
    parts += [f"## {table.title}\n\n{table.markdown()}" for table in study.first(_main(results))]
    parts += [claims_markdown(results), f"{METHOD} {study.note}"]
    parts += [f"![{p.stem}]({p.name})" for p in figures if p.suffix == ".svg"]
    parts += [f"## {table.title}\n\n{table.markdown()}" for table in study.tables(results)]
    return "\n\n".join(parts) + "\n"


def figures_to(folder: Path, results: Results, maps: Maps) -> list[Path]:
    """Write the figures of the first encoder as SVG and PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = _study(results).drawings(_main(results), maps)
    return [path for drawing in found for path in drawing.write(folder)]


def _setup(results: Results, setup: Setup) -> Table:
    runs = [run for group in results.groups for run in group.runs]
    data, test, preset = setup.data, runs[0].report.data, results.preset
    hours = sum(run.trial.seconds or 0 for run in runs) / 3600
    rows = [
        ("training data", f"{data['num_pairs']:,} pairs of {Path(data['source']).name}, fingerprint {data['fingerprint']}"),
        ("test", f"{test.num_queries:,} queries against {test.num_documents:,} documents"),
        *((f"encoder: {name}", ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in chosen.items()) or "defaults") for name, chosen in preset.encoders.items()),
        ("runs", f"preset {preset.name}: {len(runs)} trials of {len(results.groups)} objectives, seeds {', '.join(map(str, preset.seeds))}"
         + (f", {hours:.2f} hours of trials" if hours else "")),
        ("hardware", setup.hardware),
        ("versions", ", ".join(f"{name} {version}" for name, version in setup.versions.items())),
        ("date", setup.date + (f", commit {setup.commit}" if setup.commit else "")),
    ]  # fmt: skip
    return Table(title="Set-up", head=("", ""), rows=tuple(rows), prose=frozenset({1}))
