"""A table of text, for a page, a README or a terminal."""

from dataclasses import dataclass

MARKS = {
    "holds": "yes", "does not hold": "no", "undecided": "open", "not measured": "open", "better": "yes", "worse": "no",
}  # fmt: skip
"""Verdict to a class of the page's style."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text; a line break in a cell is one on the page. `templates/page.html` draws it."""

    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    note: str = ""
    best: frozenset[tuple[int, int]] = frozenset()
    """Row and column of the cells in bold."""
    prose: frozenset[int] = frozenset()
    """Columns beside the first that hold text, which begins at the left."""

    def mark(self, row: int, column: int) -> str:
        """The classes of a cell's style."""
        classes = ["best"] if (row, column) in self.best else []
        classes += [MARKS[text]] if (text := self.rows[row][column]) in MARKS else []
        return " ".join([*classes, "text"] if column in self.prose else classes)

    def markdown(self) -> str:
        """For a README."""

        def cell(text: str, row: int, column: int) -> str:
            text = text.replace("|", "\\|").replace("\n", "<br>")
            return f"**{text}**" if text == "does not hold" or (row, column) in self.best else text

        lines = [list(self.head), ["---"] * len(self.head)]
        lines += [[cell(text, i, j) for j, text in enumerate(row)] for i, row in enumerate(self.rows)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{table}\n\n{self.note}\n" if self.note else f"{table}\n"

    def text(self, gap: str = "  ") -> str:
        """For a terminal, in columns that are as wide as they must be."""
        return "\n".join(gap.join(cells).rstrip() for cells in self.aligned())

    def aligned(self) -> list[list[str]]:
        """Head and rows, padded to equal widths."""
        lines = [self.head, *self.rows]
        sizes = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        return [[cell.ljust(n) for cell, n in zip(line, sizes, strict=True)] for line in lines]
