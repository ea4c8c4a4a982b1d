"""A password in MLflow's address goes nowhere but to MLflow."""

import pytest

from tempembed.errors import UserError
from tempembed.tracking.mlflow import start_run
from tempembed.tracking.registry import Registry


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


def test_mlflow_does_not_unpickle():
    from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION

    import tempembed.tracking  # noqa: F401

    assert MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False
