"""Write Grafana's dashboards and Prometheus' own pages from `panels.py`: python -m dashboards.build."""

import html
import json
import re
from pathlib import Path
from typing import Any

from dashboards.panels import BOARDS, Board, Panel

FOLDER = Path(__file__).parent
COLUMNS, WIDTH, HEIGHT = 2, 12, 8  # Grafana's grid is 24 wide
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>TITLE</title>
<link rel="stylesheet" href="{{ pathPrefix }}/classic/static/rickshaw/rickshaw.min.css">
<link rel="stylesheet" href="{{ pathPrefix }}/classic/static/css/prom_console.css">
<style>
body { font: 14px sans-serif; margin: 1em } nav { margin-bottom: 1em } nav a { margin-right: 1em }
h1 { font-size: 18px; margin: 0 0 8px } h2 { font-size: 14px; margin: 0 0 2px } p { color: #555; margin: 0 0 4px; font-size: 11px }
main { display: flex; flex-wrap: wrap; gap: 20px } section { width: 325px }
.rickshaw_legend { font-size: 10px } .rickshaw_legend .line { padding: 0 8px 0 4px; line-height: 1.3 }
</style>
<script src="{{ pathPrefix }}/classic/static/d3/d3.min.js"></script>
<script src="{{ pathPrefix }}/classic/static/vendor/rickshaw/vendor/d3.layout.min.js"></script>
<script src="{{ pathPrefix }}/classic/static/rickshaw/rickshaw.min.js"></script>
<script src="{{ pathPrefix }}/classic/static/jquery/jquery.min.js"></script>
<script>var PATH_PREFIX = "{{ pathPrefix }}";</script>
<script src="{{ pathPrefix }}/classic/static/js/prom_console.js"></script>
</head>
<body>
<h1>TITLE</h1>
<nav>LINKS</nav>
<main></main>
<script>
for (const panel of PANELS) {
  const section = document.createElement("section");
  section.innerHTML = `<h2>${panel.title}</h2><p>${panel.about}</p>`;
  document.querySelector("main").append(section);
  const node = section.appendChild(document.createElement("div"));
  new PromConsole.Graph({
    node, expr: panel.expr, renderer: panel.renderer, width: 285, height: 140, min: 0, xTitle: "", yAxisTicks: 4,
    yAxisFormatter: y => y < 1e4 ? String(Number(y.toPrecision(3))) : PromConsole.NumberFormatter.humanize(y),
    name: panel.name.map(text => labels => text.replace(/\\[(\\w+)\\]/g, (_, label) => labels[label] || "")),
    duration: Number(new URLSearchParams(location.search).get("seconds") || 3600),
  });
}
</script>
</body>
</html>
"""


def dashboard(board: Board) -> dict[str, Any]:
    """The board as JSON, as Grafana 11 and 12 read it from a file."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["tempembed"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "title": "tempembed", "tags": ["tempembed"], "asDropdown": False, "icon": "external link",
             "keepTime": True, "includeVars": True, "targetBlank": False, "tooltip": "", "url": ""},
        ],
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                 "hide": 0, "refresh": 1, "regex": "", "multi": False, "includeAll": False, "options": []},
                variable("sweep", "Sweep", "label_values(ray_tempembed_step, sweep)"),
                variable("run", "Run", 'label_values(ray_tempembed_step{sweep=~"$sweep"}, run)'),
            ]
        },
        "panels": [panel(number, each) for number, each in enumerate(board.panels)],
    }  # fmt: skip


def variable(name: str, label: str, query: str) -> dict[str, Any]:
    """A menu of a label's values; "all" matches the empty value too, which a run outside a sweep has."""
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "hide": 0, "regex": "", "multi": True,
        "includeAll": True, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}, "options": [],
    }  # fmt: skip


def panel(number: int, panel: Panel) -> dict[str, Any]:
    """A panel as JSON, placed on the grid."""
    is_bar = panel.kind == "bargauge"
    custom = {"lineWidth": 1, "fillOpacity": 60 if panel.stacked else 0, "showPoints": "auto", "spanNulls": False,
              "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"}}  # fmt: skip
    options: dict[str, Any] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if is_bar:
        custom = {}
        options = {
            "orientation": "horizontal", "displayMode": "basic", "valueMode": "text",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }  # fmt: skip
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about + (f" Needs {panel.needs}." if panel.needs else ""),
        "datasource": SOURCE,
        "gridPos": {"x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend, "editorMode": "code",
             "range": not is_bar, "instant": is_bar}
            for i, (expr, legend) in enumerate(panel.queries)
        ],
    }  # fmt: skip


def plain(expr: str, window: str = "1d") -> str:
    """The query without Grafana's variables: all runs, over the last day."""
    return expr.replace("$__range", window).replace("$sweep", ".*").replace("$run", ".*")


def page(board: Board) -> str:
    """The same panels as a console template, a page that Prometheus itself serves."""
    panels = [
        {
            "title": html.escape(each.title),
            "about": html.escape(each.about),
            "expr": [plain(expr) for expr, _ in each.queries],
            "name": [re.sub(r"\{\{(\w+)\}\}", r"[\1]", legend) for _, legend in each.queries],
            "renderer": "area" if each.stacked else "line",
        }
        for each in board.panels
    ]
    ranges = {"15 minutes": 900, "1 hour": 3600, "6 hours": 21600, "1 day": 86400}
    links = [f'<a href="{file_name(other)}.html">{other.title}</a>' for other in BOARDS]
    links += [f'<a href="?seconds={seconds}">{name}</a>' for name, seconds in ranges.items()]
    text = PAGE.replace("TITLE", html.escape(board.title)).replace("LINKS", "".join(links))
    return text.replace("PANELS", json.dumps(panels, indent=1))


def file_name(board: Board) -> str:
    """The name of a board's files: its uid without the project."""
    return board.uid.removeprefix("tempembed-")


def files() -> dict[Path, str]:
    """The text of every file, by its path."""
    found = {}
    for board in BOARDS:
        name = file_name(board)
        found[FOLDER / "grafana" / "boards" / f"{name}.json"] = json.dumps(dashboard(board), indent=1) + "\n"
        found[FOLDER / "prometheus" / "consoles" / f"{name}.html"] = page(board)
    return found


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
