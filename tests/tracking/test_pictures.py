"""What a run with pictures leaves in MLflow."""

from pathlib import Path

from mlflow import MlflowClient

from tempembed.commands.train import Train, train_command
from tempembed.data.installed_glyphs import installed_glyphs
from tempembed.encoders.load import load_encoder
from tempembed.settings.train import TrainSettings
from tempembed.tracking.registry import Registry
from tempembed.tracking.settings import TrackingSettings


def test_the_sheet_of_a_run_is_an_artifact_and_its_model_goes_through_the_registry(mlflow_uri, tmp_path):
    glyphs = installed_glyphs(tmp_path / "glyphs", faces=("DejaVuSans", "DejaVuSerif"), below=0x100)
    run = TrainSettings.of(
        data=str(glyphs.train), eval_data=str(glyphs.test), width=8, vocabulary=300, batch_size=16, steps=2, allow_overlap=True
    )  # fmt: skip
    output = tmp_path / "run"
    train_command(Train(train=run, output=str(output), tracking=TrackingSettings(mlflow_uri=mlflow_uri)))
    client = MlflowClient(mlflow_uri)
    (found,) = client.search_runs([client.get_experiment_by_name("tempembed").experiment_id])
    kept = Path(found.info.artifact_uri.removeprefix("file://")) / "retrievals.html"
    page = kept.read_text()
    assert page == (output / "retrievals.html").read_text()
    assert page.count("data:image/png") > 10
    assert "The worst" in page
    assert 'href="retrievals.html"' in (output / "evaluation.html").read_text()
    client.log_artifact(found.info.run_id, str(output / "settings.json"))  # as a trial of a sweep does
    registry = Registry(mlflow_uri)
    number = registry.register(found.info.run_id, output, "tempembed-glyphs", {"objective": "infonce"})
    version = registry.version("tempembed-glyphs", number=number)
    fetched = load_encoder(str(registry.fetch(version, None, tmp_path / "fetched")))
    assert fetched.fingerprint() == load_encoder(str(output)).fingerprint()
    assert fetched.modalities == {"image", "text"}
