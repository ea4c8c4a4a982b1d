"""Which gauges a report becomes; `tests/dashboards` sees them in a real Prometheus."""

from ray_jobs.metrics import GAUGES, Sample, evaluation_samples, report_samples
from tests.rows import report, score_row


def test_a_report_becomes_samples():
    report = {
        "step": 20, "num_steps": 100, "temperatures": {"dim_16_temperature_0.03": 0.03}, "epoch": 0.5, "train/loss": 3.5, "train/loss/dim_16_temperature_0.03": 1.5,
        "train/loss/dim_64_temperature_learned_0.1": 2.0, "train/temperature/dim_64_temperature_learned_0.1": 0.11,
        "train/pairs_per_second": 1e4, "train/learning_rate": 0.1, "time/data": 0.001, "time/gather": 0.0,
        "train/effective_negatives/0.03": 4.0,
    }  # fmt: skip
    found = list(report_samples(report))
    assert set(map(str, found)) == {
        str(Sample(*each))
        for each in (
            ("step", 20), ("steps", 100), ("loss", 3.5), ("pairs_per_second", 1e4),
            ("term_loss", 1.5, {"term": "dim_16_temperature_0.03"}),
            ("temperature", 0.03, {"term": "dim_16_temperature_0.03"}),
            ("term_loss", 2.0, {"term": "dim_64_temperature_learned_0.1"}),
            ("temperature", 0.11, {"term": "dim_64_temperature_learned_0.1"}),
            ("phase_seconds", 0.001, {"phase": "data"}), ("phase_seconds", 0.0, {"phase": "gather"}),
        )
    }  # fmt: skip
    assert {name for name, _, _ in found} <= GAUGES.keys()


def test_a_fixed_temperature_may_be_tiny():
    report = {"temperatures": {"dim_8_temperature_1e-39": 1e-39}, "train/loss/dim_8_temperature_1e-39": 1.0}
    assert next(report_samples(report)).value == 1e-39


def row(bytes_per_vector, score, retention):
    return score_row(codec="int8", bytes_per_vector=bytes_per_vector, score=score, retention=retention)


def test_a_measured_model_becomes_samples():
    scores = [row(100, 0.5, 0.9), row(128, 0.4, 0.8), row(512, 0.6, 1.0)]
    one = report(scores, geometry={"pca95": 12}, width=256)
    found = {(name, tags.get("bytes")): value for name, value, tags in evaluation_samples(one)}
    assert found == {
        ("measured_intrinsic_dimension", None): 12, ("retention", "512"): 1.0, ("score", "512"): 0.6,
        ("retention", "128"): 0.9, ("score", "128"): 0.5,
    }  # fmt: skip
