"""The tables of a reproduction: claims, the paper's Tables 1 and 2, the reviewers' comparisons, spread and cost."""

from collections.abc import Sequence

from tempembed.reports.table import Table
from tempembed.reproduction.extras import comparisons, costs, spreads
from tempembed.reproduction.finding import Finding, amount, span
from tempembed.reproduction.presets import BEST_SINGLE
from tempembed.reproduction.quantities import (
    BINARY,
    COMPARED,
    DIMENSION,
    FORMS,
    TRUNCATED,
    Form,
    Quantity,
    kept,
    score,
)
from tempembed.reproduction.results import CLUSTERING, METRICS, RETRIEVAL, Group, NotMeasured, Results
from tempembed.reproduction.sample import difference


def claims_table(findings: Sequence[Finding], title: str) -> Table:
    """Verdict, effect and interval of each claim; the paper's figure where one is known."""
    rows = tuple(
        (f.key, f"{f.claim}\n{f.compared}", f.verdict, f.effect_text.replace(" (", "\n(", 1), f.seeds_text, f.detail, f.paper)
        for f in findings
    )  # fmt: skip
    return Table(
        title=title, head=("", "claim, and what is compared", "here", "effect (95 %)", "of each seed", "values", "the paper"),
        rows=rows, prose=frozenset({1, 2, 5, 6}),
    )  # fmt: skip


def prefix_table(results: Results) -> Table:
    """Table 1: without and with prefixes at each temperature."""
    quantities = (
        score(RETRIEVAL), score(CLUSTERING), DIMENSION, kept(RETRIEVAL, TRUNCATED), kept(RETRIEVAL, BINARY),
    )  # fmt: skip
    rows = []
    for group in results.role("mrl"):
        try:
            plain = results.group(f"InfoNCE τ={group.tau:g}")
        except NotMeasured:
            continue
        rows.append((f"{group.tau:g}", *(_both(quantity, plain, group) for quantity in quantities)))
    return Table(
        title="Table 1: without and with prefixes (MRL)", head=("τ", *(q.name for q in quantities)), rows=tuple(rows),
        note="InfoNCE → MRL; below, the paired difference. * its 95 % interval leaves zero out.",
    )  # fmt: skip


def _both(quantity: Quantity, plain: Group, prefixes: Group) -> str:
    try:
        a, b = quantity.of(plain), quantity.of(prefixes)
    except NotMeasured:
        return ""
    gain = difference(b, a)
    mark = "*" if gain.interval and (gain.interval[0] > 0 or gain.interval[1] < 0) else ""
    return f"{quantity.text(a.mean)} → {quantity.text(b.mean)}\n{amount(gain.mean, quantity.unit)}{mark}"


def sets_table(results: Results, task: str) -> Table:
    """Table 2: one temperature and several, in every form: the score, and the share of the full score."""
    groups = []
    for label in (BEST_SINGLE, "TempAgg", "TempAggMRL", "TempSpecMRL"):
        try:
            groups.append(results.group(label))
        except NotMeasured:
            continue
    forms = [form for form in FORMS if any(_value(group, task, form) for group in groups)]
    values = [[_value(group, task, form) for form in forms] for group in groups]
    best = set()
    for j in range(len(forms)):
        for part in (0, 1) if j else (0,):
            column = [value[part] if (value := row[j]) else -1.0 for row in values]
            best.add((column.index(max(column)), 1 + 2 * j - (j > 0) + part))
    rows = tuple(
        (group.entry.label, *(text for form, value in zip(forms, row, strict=True) for text in _texts(form, value)))
        for group, row in zip(groups, values, strict=True)
    )  # fmt: skip
    head = [text for form in forms for text in ([form.name] if form is FORMS[0] else [f"{form.name}, {form.times}", "kept"])]  # fmt: skip
    return Table(
        title=f"Table 2: one temperature and several, {METRICS[task]}", head=("model", *head), rows=rows, best=frozenset(best),
        note=f"The single τ is the one with the best full {METRICS[RETRIEVAL]} here. Kept: share of the model's own full score. "
        "Means over the seeds; bold: best of the column.",
    )  # fmt: skip


def _value(group: Group, task: str, form: Form) -> tuple[float, float] | None:
    try:
        spec = form.spec(group.width)
        return group.score(task, spec).mean, group.kept(task, spec).mean
    except NotMeasured:
        return None


def _texts(form: Form, value: tuple[float, float] | None) -> list[str]:
    if value is None:
        return [""] if form is FORMS[0] else ["", ""]
    return [f"{value[0]:.4f}"] if form is FORMS[0] else [f"{value[0]:.4f}", f"{100 * value[1]:.1f} %"]


def comparison_table(
    results: Results, title: str = "What the reviewers missed", quantities: Sequence[Quantity] = COMPARED
) -> Table:
    """The questions of the entries that name a baseline."""
    rows = []
    for found in comparisons(results, quantities):
        cells = [
            "" if cell is None else
            f"{amount(cell.effect, cell.unit)}{'*' if cell.is_there else ''}"
            + f"\n{span(cell.interval, cell.unit)}"
            for cell in found.cells
        ]  # fmt: skip
        rows.append((f"{found.question}\n{found.label} minus {found.baseline}", *cells))
    return Table(
        title=title, head=("question", *(q.name for q in quantities)), rows=tuple(rows),
        note="Paired differences over seeds and queries with 95 % intervals; * the interval leaves zero out.",
    )  # fmt: skip


def spread_table(results: Results, quantities: Sequence[Quantity] = COMPARED) -> Table:
    """How far seeds lie apart."""
    rows = tuple(
        (s.quantity.name, amount(s.typical, s.quantity.unit).lstrip("+"), amount(s.widest, s.quantity.unit).lstrip("+"), s.where)
        for s in spreads(results, quantities)
    )  # fmt: skip
    return Table(
        title="Spread over seeds",
        head=("", "typical standard deviation", "largest distance of two seeds", "of"),
        rows=rows,
        note="Typical: mean over the objectives.",
    )


def objective_table(results: Results) -> Table:
    """Every objective in the quantities that are compared, mean over the seeds."""
    rows = []
    for group in results.groups:
        cells = []
        for quantity in COMPARED:
            try:
                cells.append(quantity.text(quantity.of(group).mean))
            except NotMeasured:
                cells.append("")
        rows.append((group.entry.label, str(len(group.seeds)), *cells))
    return Table(
        title="All objectives", head=("objective", "seeds", *(q.name for q in COMPARED)), rows=tuple(rows)
    )


def cost_table(results: Results) -> Table:
    """Seconds, throughput and memory of a run."""

    def text(value: float | None, form: str, divisor: float = 1.0) -> str:
        return "" if value is None else format(value / divisor, form)

    rows = tuple(
        (
            cost.label if cost.encoder == results.groups[0].entry.encoder else f"{cost.label} ({cost.encoder})",
            str(cost.num_terms), text(cost.values[0], ".1f"), text(cost.values[1], ",.0f"), text(cost.values[2], ".2f", 1e9),
            text(cost.values[3], ".1f"), text(cost.values[4], ".1f"),
        )
        for cost in costs(results)
    )  # fmt: skip
    return Table(
        title="Cost of a run",
        head=("objective", "terms", "training, s", "pairs/s", "peak memory, GB", "measuring, s", "start and hand-over, s"),
        rows=rows, note="Means over the seeds.",
    )  # fmt: skip
