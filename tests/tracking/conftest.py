"""A database of MLflow, whose tables take seconds to make: once, and a copy for each test."""

import shutil

import pytest


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory):
    """A database file with MLflow's tables and nothing in them."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("tables") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_uri(mlflow_tables, tmp_path):
    """The address of a test's own database."""
    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"
