"""The dashboards fit their table, their metrics exist, and Prometheus' own tools accept them."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from dashboards.build import FOLDER, dashboard, files, plain
from dashboards.panels import BOARDS
from ray_jobs.metrics import COUNTERS, GAUGES

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)"
)
QUERIES = [(panel, expr) for board in BOARDS for panel in board.panels for expr, _ in panel.queries]
ALERTS = yaml.safe_load((FOLDER / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_what_is_kept_is_what_is_built(path):
    assert path.read_text() == files()[path], "run: python -m dashboards.build"


def test_queries_and_alerts_know_the_metrics_and_none_is_forgotten():
    known = {f"ray_tempembed_{name}" for name in GAUGES} | {
        f"ray_tempembed_{name}_total" for name in COUNTERS
    }
    texts = [expr for _, expr in QUERIES] + [rule["expr"] for rule in ALERTS]
    assert {name for text in texts for name in re.findall(r"ray_tempembed_\w+", text)} == known


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_board_is_what_grafana_reads(board):
    made = dashboard(board)
    assert re.fullmatch(r"[a-z-]{1,40}", made["uid"])  # Grafana takes 40 characters
    assert 36 <= made["schemaVersion"] <= 41  # 36: data sources by uid; 41: Grafana 12
    names = [v["name"] for v in made["templating"]["list"]]
    assert names == ["datasource", "sweep", "run"]
    places = set()
    for panel in made["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not places & cells
        places |= cells
        assert grid["x"] + grid["w"] <= 24
        assert panel["targets"]
        for thing in (panel, *panel["targets"]):
            assert thing["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used <= {*names, "__range"}
    ids = [panel["id"] for panel in made["panels"]]
    assert len(set(ids)) == len(ids)


def test_provisioning_names_what_is_there():
    folder = FOLDER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards" / "tempembed.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "$TEMPEMBED_BOARDS"
    assert {json.loads(p.read_text())["uid"] for p in (FOLDER / "grafana" / "boards").glob("*.json")} == {
        board.uid for board in BOARDS
    }


@needs_promtool
def test_promtool_parses_every_query(tmp_path):
    rules = [{"record": f"panel:{i}", "expr": plain(expr)} for i, (_, expr) in enumerate(QUERIES)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([PROMTOOL, "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


@needs_promtool
@pytest.mark.parametrize(
    "command", [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")]
)  # fmt: skip
def test_promtool_accepts(command):
    *what, name = command
    done = subprocess.run([PROMTOOL, *what, FOLDER / "prometheus" / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested():
    text = (FOLDER / "prometheus" / "alerts_test.yml").read_text()
    cases = [c for t in yaml.safe_load(text)["tests"] for c in t["alert_rule_test"]]
    for rule in ALERTS:
        of_rule = [bool(case["exp_alerts"]) for case in cases if case["alertname"] == rule["alert"]]
        assert True in of_rule, rule["alert"]
        assert {"summary", "do"} == rule["annotations"].keys()
