"""Pictures and words, the paper's questions: tables and figures of `ray_jobs.reproduce --data installed-glyphs[/pictures]`.

    python -m benchmarks.glyphs REPRODUCTION docs/images text
    python -m benchmarks.glyphs REPRODUCTION docs/images pictures
    python -m benchmarks.glyphs REPRODUCTION docs/images clipart     # --data of benchmarks.clipart; no sheet of answers

Trials that are not there yet are left out, with their objectives or seeds; the tables say how many are in them.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from matplotlib.figure import Figure

from tempembed.codecs.basis import normalized
from tempembed.encoders.load import load_encoder
from tempembed.inputs.picture_store import PictureStore
from tempembed.inputs.pictures import decoded
from tempembed.reports.figures import COLOURS
from tempembed.reports.reproduction_page import claims_markdown
from tempembed.reports.table import Table
from tempembed.reproduction.load_results import load_results
from tempembed.reproduction.presets import PRESETS, STATIC
from tempembed.reproduction.quantities import BINARY, BOTH, RERANKED, TRUNCATED, Quantity, kept, score
from tempembed.reproduction.results import CLUSTERING, RETRIEVAL, Group, NotMeasured, Results
from tempembed.stages.prepare import evaluation_task
from tempembed.system.cache import GLYPH_PICTURES, INSTALLED_GLYPHS

SCORES = (
    score(RETRIEVAL), kept(RETRIEVAL, TRUNCATED), kept(RETRIEVAL, BINARY), kept(RETRIEVAL, RERANKED), kept(RETRIEVAL, BOTH),
    score(CLUSTERING),
)  # fmt: skip
HEAD = ("nDCG@10", "kept: ¼", "bits", "bits, re-ranked", "¼ and bits", "V-measure")
MEASURES = {
    "pca95": "PCA-95",
    "query_pca95": "PCA-95, words",
    "twonn": "TwoNN",
    "query_twonn": "TwoNN, words",
    "modality_gap": "gap",
}
TITLES = {
    "text": "Glyphs and their names",
    "pictures": "Glyphs in two faces",
    "clipart": "Debian's clip art and its titles",
}
GLYPHS = {"text": INSTALLED_GLYPHS, "pictures": GLYPH_PICTURES}
QUERIES = 6
ANSWERS = 8


def main() -> None:
    """Write the tables of one kind of pairs, and their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reproduction", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("kind", choices=TITLES)
    arguments = parser.parse_args()
    folder = arguments.reproduction / STATIC
    results = finished(folder)
    arguments.output.mkdir(parents=True, exist_ok=True)
    claims = "\n".join(
        line for line in claims_markdown(results).split("\n") if "| not measured |" not in line
    )
    text = f"# {TITLES[arguments.kind]}: all figures\n\n{table(results).markdown()}\n{claims}"
    first = finished(folder, most=1)
    if len(first.groups) > len(results.groups):
        own = (
            line
            for line in claims_markdown(first).split("\n")
            if line.startswith(("| 5", "| 6", "| 7", "| 8"))
        )
        rows = "\n".join(line for line in own if "| not measured |" not in line)
        head = "|  | claim | here | effect (95 %) | of; values | the paper |\n| --- | --- | --- | --- | --- | --- |"
        text += f"\n## All objectives, seed 0 alone\n\n{table(first).markdown()}\n{head}\n{rows}\n"
    (arguments.output / f"{arguments.kind}.md").write_text(text)
    curves(results, arguments.output / f"{arguments.kind}.png")
    if data := GLYPHS.get(arguments.kind):
        best = max(results.groups, key=lambda group: score(RETRIEVAL).of(group).mean)
        sheet(best.runs[0].folder, data, arguments.output / f"{arguments.kind}-found.png")
    print(text)


def finished(folder: Path, most: int = 3) -> Results:
    """The objectives that were run with each of so many seeds, those that have few runs left out."""
    preset = PRESETS["pictures"]()
    there = {row["name"] for row in json.loads((folder / "trials.json").read_text())}
    seeds = tuple(s for s in preset.seeds if sum(entry.name(s) in there for entry in preset.entries) > 3)[
        :most
    ]
    entries = tuple(entry for entry in preset.entries if all(entry.name(seed) in there for seed in seeds))
    return load_results([folder], dataclasses.replace(preset, seeds=seeds, entries=entries))


def table(results: Results) -> Table:
    """A row for each objective: the mean over seeds, in the interval of seeds and queries."""
    measures = [name for name in MEASURES if name in results.groups[0].runs[0].report.geometry]
    rows = []
    for group in results.groups:
        cells = [cell(quantity, group) for quantity in SCORES]
        for name in measures:
            value = group.measure(name).mean
            cells.append(f"{value:.0f}" if "pca" in name else f"{value:.2f}")
        rows.append((group.entry.label, *cells))
    seeds = len(results.preset.seeds)
    head = ("objective", *HEAD, *(MEASURES[name] for name in measures))
    one = "One seed: intervals are 95 %, over queries alone, and say nothing of how runs differ."
    note = f"Means over {seeds} seeds; intervals are 95 %, over seeds and queries." if seeds > 1 else one
    return Table(head=head, rows=tuple(rows), note=note)


def cell(quantity: Quantity, group: Group) -> str:
    """The mean, and its interval on a line of its own."""
    try:
        sample = quantity.of(group)
    except NotMeasured:
        return ""
    scale, digits = (100, 1) if quantity.unit == "share" else (1, 3)
    found = f"{scale * sample.mean:.{digits}f}"
    if sample.interval is None:
        return found
    low, high = (scale * end for end in sample.interval)
    return f"{found}\n{low:.{digits}f} to {high:.{digits}f}"


def curves(results: Results, path: Path) -> None:
    """Retrieval, what is kept, dimensions and gap over the temperature of plain InfoNCE."""
    groups = sorted((g for g in results.groups if g.entry.role == "single"), key=lambda group: group.tau)
    taus = [group.tau for group in groups]
    has_words = "modality_gap" in groups[0].runs[0].report.geometry
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    axes = figure.subplots(1, 4 if has_words else 3)

    def line(place: int, quantity: Quantity, label: str, colour: str) -> None:
        samples = [quantity.of(group) for group in groups]
        axes[place].plot(taus, [sample.mean for sample in samples], marker="o", color=colour, label=label)
        if samples[0].interval:
            low, high = zip(*(sample.interval or (0, 0) for sample in samples), strict=True)
            axes[place].fill_between(taus, low, high, color=colour, alpha=0.15, linewidth=0)

    line(0, score(RETRIEVAL), "nDCG@10", COLOURS[0])
    line(0, score(CLUSTERING), "V-measure", COLOURS[3])
    for form, label, colour in (
        (TRUNCATED, "a quarter", COLOURS[1]),
        (BINARY, "bits", COLOURS[2]),
        (BOTH, "both", COLOURS[4]),
    ):
        line(1, kept(RETRIEVAL, form), label, colour)
    for name, label, colour in (("pca95", "pictures", COLOURS[0]), ("query_pca95", "words", COLOURS[3])):
        if name == "pca95" or has_words:
            axes[2].plot(
                taus, [group.measure(name).mean for group in groups], marker="o", color=colour, label=label
            )
    if has_words:
        axes[3].plot(
            taus, [group.measure("modality_gap").mean for group in groups], marker="o", color=COLOURS[5]
        )
    titles = ("scores", "share of nDCG@10 that is kept", "PCA-95", "modality gap")
    for place, title in zip(axes, titles, strict=False):
        place.set_title(title, loc="left", fontsize=10)
        place.set_xscale("log")
        place.set_xticks(taus, [f"{tau:g}" for tau in taus])
        place.minorticks_off()
        place.set_xlabel("temperature τ")
        place.set_ylim(bottom=0)
        place.grid(alpha=0.25)
        if place.get_legend_handles_labels()[0]:
            place.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def sheet(model: Path, data: str, path: Path) -> None:
    """What a model finds for some queries of its test: a query a line, a right answer in a green frame."""
    corpus, encoder, store = evaluation_task(data), load_encoder(str(model)), PictureStore()
    rows = range(0, len(corpus.queries), len(corpus.queries) // QUERIES)[:QUERIES]
    queries = [corpus.queries[row] for row in rows]
    found = [normalized(encoder.embed(encoder.prepare(texts, encoder.role(role)))) for texts, role in ((queries, "query"), (corpus.documents, "document"))]  # fmt: skip
    best = (found[0] @ found[1].T).topk(ANSWERS).indices.tolist()
    is_text = encoder.modalities != {"image"}
    figure = Figure(figsize=(8, 0.95 * QUERIES), layout="constrained")
    axes = figure.subplots(QUERIES, ANSWERS + (0 if is_text else 1), squeeze=False)
    for line, row, query, answers in zip(axes, rows, queries, best, strict=True):
        shown = [corpus.documents[i] for i in answers]
        for place, name in zip(line, shown if is_text else [query, *shown], strict=True):
            place.imshow(decoded(store.contents([name])[0]), interpolation="nearest")
            place.set(xticks=[], yticks=[])
            is_right = name in {corpus.documents[i] for i in corpus.relevant[row]}
            for spine in place.spines.values():
                spine.set(color=COLOURS[2] if is_right else "#d9e0e6", linewidth=2.5 if is_right else 0.8)
        if is_text:
            line[0].set_title(query.lower(), loc="left", fontsize=8)
        else:
            line[0].set_title("query", fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
