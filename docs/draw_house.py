"""Draw the house from the import contract in pyproject.toml: python docs/draw_house.py writes docs/design/house.svg."""

import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "design" / "house.svg"
WIDTH, HEIGHT, GAP = 760, 34, 6


def floors() -> list[list[str]]:
    """The rooms of each floor, roof first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [["ray_jobs"], *([room.strip(" ()") for room in layer.split("|")] for layer in layers)]


def svg() -> str:
    """The picture."""
    rows = floors()
    boxes = []
    for number, rooms in enumerate(rows):
        width = (WIDTH - GAP * (len(rooms) - 1)) / len(rooms)
        for place, room in enumerate(rooms):
            x, y = place * (width + GAP), number * (HEIGHT + GAP)
            fill = "#00695c" if number == 0 else "#e0f2f1"
            ink = "#ffffff" if number == 0 else "#004d40"
            boxes.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{HEIGHT}" rx="4" fill="{fill}" stroke="#00897b"/>'
                f'<text x="{x + width / 2:.1f}" y="{y + HEIGHT / 2 + 5}" fill="{ink}">{escape(room)}</text>'
            )
    height = len(rows) * (HEIGHT + GAP)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {WIDTH + 4} {height + 18}" width="{WIDTH}" '
        'font-family="sans-serif" font-size="14" text-anchor="middle">',
        "<title>The rooms of tempembed: a floor imports from those below it</title>",
        *boxes,
        f'<text x="{WIDTH / 2}" y="{height + 10}" font-size="12" fill="#555555">a floor imports from those below it; '
        "rooms side by side not from each other; only ray_jobs imports Ray</text>",
        "</svg>\n",
    ])  # fmt: skip


if __name__ == "__main__":
    PICTURE.write_text(svg())
