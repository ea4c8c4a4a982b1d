"""A password in MLflow's address goes nowhere but to MLflow."""

import pytest

from tempembed.system.errors import UserError
from tempembed.tracking.courier import Courier
from tempembed.tracking.mlflow import start_run
from tempembed.tracking.registry import Registry
from tempembed.tracking.spool import Spool
from tempembed.tracking.tracker import RefusedError


@pytest.mark.mlflow
@pytest.mark.parametrize(
    "reach", [lambda uri: start_run(uri, "e", "r", {}), lambda uri: Registry(uri).name(None)]
)
def test_the_error_of_a_dead_server_hides_the_password(reach, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"\*\*\*@127\.0\.0\.1") as error:
        reach("http://me:hunter2@127.0.0.1:9")
    out, err = capfd.readouterr()
    assert "hunter2" not in str(error.value) + out + err


def test_the_courier_keeps_and_says_no_password(tmp_path):
    said = []

    def deliver(record):
        if record["kind"] == "tag":
            raise RefusedError("never")

    spool = Spool(tmp_path / "mlflow.spool")
    spool.run().tag("key", "value")
    spool.run().finish()
    courier = Courier(spool, deliver, "http://me:hunter2@host:5000", said.append)
    assert courier.close() == 0
    assert any("***@host" in line for line in said)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert {"mlflow.spool", "mlflow.sent", "mlflow.refused"} == {path.name for path in files}
    assert "hunter2" not in "".join([*said, *(path.read_text() for path in files)])


def test_mlflow_does_not_unpickle():
    from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION

    import tempembed.tracking  # noqa: F401

    assert MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False
