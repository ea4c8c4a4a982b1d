"""Which trackers a run has: the flags of all commands that train."""

import dataclasses
import os
from dataclasses import dataclass
from typing import TypeVar

from tempembed.system.errors import UserError
from tempembed.system.names import check_name
from tempembed.system.redact import refuse_secret
from tempembed.tracking.tracker import find_tracker

Settings = TypeVar("Settings", bound="TrackingSettings")
MLFLOW_URI = "MLFLOW_TRACKING_URI"
"""MLflow's own environment variable."""


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Where metrics go besides metrics.jsonl."""

    trackers: tuple[str, ...] = ()
    """mlflow, tensorboard (in tensorboard/ of --output), or MODULE:NAME of your own; default: mlflow, where it has an address.
    metrics.jsonl is always written."""
    mlflow_uri: str | None = None
    """MLflow tracking server. On Ray the default is MLFLOW_TRACKING_URI; without it a sweep has mlflow.db in --output."""
    experiment: str = "tempembed"
    """MLflow experiment."""

    def __post_init__(self) -> None:
        check_name(self.experiment, "--experiment")

    def resolved(self: Settings, default_uri: str | None = None) -> Settings:
        """These settings with their trackers and MLflow's address filled in; checked, before any work is done.

        Args:
            default_uri: MLflow's address if the flag gives none.

        Raises:
            UserError: no tracker of that name, a password in a flag, or an MLflow that does not answer.
        """
        refuse_secret("--mlflow-uri", self.mlflow_uri)
        uri = self.mlflow_uri or default_uri
        trackers = self.trackers or (("mlflow",) if uri else ())
        for name in trackers:
            find_tracker(name)
        if "mlflow" in trackers:
            from tempembed.tracking.mlflow import check_server

            uri = uri or os.environ.get(MLFLOW_URI)
            if not uri:
                raise UserError(
                    f"--trackers mlflow: expected --mlflow-uri or {MLFLOW_URI}, got neither; give one"
                )
            check_server(uri, self.experiment)
        return dataclasses.replace(self, trackers=tuple(dict.fromkeys(trackers)), mlflow_uri=uri)
