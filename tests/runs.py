"""A short training run of a test."""

from tempembed.encoders.load import load_encoder
from tempembed.stages.contrastive import train_pairs
from tempembed.stages.prepare import prepare


def run(settings, output, **options):
    """Train into a folder, which is made; the reports."""
    reports = []
    output.mkdir(parents=True, exist_ok=True)
    train_pairs(settings, prepare(settings), output, reports.append, **options)
    return reports


def weights(folder):
    """Of the model in a folder, by name."""
    return load_encoder(str(folder)).state_dict()
