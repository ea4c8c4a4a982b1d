"""MLflow's model registry: one registered model for each data set, an alias for each byte budget."""

import os
import re
import shutil
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tempembed.encoders.image_folder import is_ours
from tempembed.evaluation.report import Evaluation
from tempembed.evaluation.report_files import REPORT, load_evaluation, replicates_file
from tempembed.export.provenance import Provenance
from tempembed.system.errors import UserError
from tempembed.system.names import check_name
from tempembed.system.redact import redact
from tempembed.tracking.causes import answered
from tempembed.tracking.mlflow_run import MlflowRun
from tempembed.tracking.uri import check_database, check_uri

PREFIX, SETTINGS = "tempembed-", "settings.json"
MODEL = "model.sentence_transformer"
"""Where MLflow's sentence-transformers flavour keeps the plain folder."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A registered model's version."""

    name: str
    number: str
    run_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...]

    @property
    def label(self) -> str:
        """Its name in sentences."""
        return f"version {self.number} ({self.tags.get('objective', 'unknown objective')})"


def registered_name(data: str, fingerprint: str) -> str:
    """The registered model of a data set: scores are compared within one, never across. A test of other content is another data set.

    >>> registered_name("/data/my pairs.parquet", "0123456789abcdef")
    'tempembed-my-pairs-01234567'
    """
    return f"{PREFIX}{re.sub(r'[^a-z0-9]+', '-', Path(data).stem.lower()).strip('-')[:100]}-{fingerprint[:8]}"


class Registry:
    """Reads and writes one tracking server's registry."""

    def __init__(self, uri: str) -> None:
        uri = check_uri(uri)
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
            raise UserError(
                f"registry {uri}: expected MLflow's database, found no file; run a sweep first, or give --mlflow-uri"
            )
        self._uri, self._shown = uri, redact(uri)  # an address may hold a password
        with answered(uri):
            check_database(uri)
            self._client = MlflowClient(uri)

    def _reached(self) -> AbstractContextManager[None]:
        return answered(self._shown, "registry of MLflow")

    def name(self, wanted: str | None) -> str:
        """The registered model that is meant; without a name the one that changed last.

        Raises:
            UserError: there is none, or it is not there.
        """
        with self._reached():
            found = [m for m in self._client.search_registered_models() if m.name.startswith(PREFIX)]
        names = [m.name for m in sorted(found, key=lambda m: -m.last_updated_timestamp)]
        if not names or (wanted and wanted not in names):
            raise UserError(
                f"registry {self._shown}: expected the registered model {wanted or PREFIX + '...'}, it has "
                f"{', '.join(names) or 'none; run a sweep first'}"
            )
        return wanted or names[0]

    def versions(self, name: str) -> list[Version]:
        """All, oldest first; none if the model is not there."""
        check_name(name, "registered model")  # it stands in a search filter
        with self._reached():
            try:
                aliases: dict[str, str] = dict(self._client.get_registered_model(name).aliases)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return []
                raise
            found = self._client.search_model_versions(f"name='{name}'")
        return [
            Version(
                name=name, number=str(v.version), run_id=v.run_id or "", tags=dict(v.tags),
                aliases=tuple(sorted(a for a, number in aliases.items() if str(number) == str(v.version))),
            )
            for v in sorted(found, key=lambda v: int(v.version))
        ]  # fmt: skip

    def version(self, name: str, *, alias: str | None = None, number: str | None = None) -> Version:
        """The holder of an alias, or a version by its number.

        Raises:
            UserError: not there; says what is.
        """
        versions = self.versions(name)
        for version in versions:
            if alias in version.aliases if alias else version.number == number:
                return version
        there = ", ".join(f"version {v.number} ({' '.join(v.aliases) or 'no alias'})" for v in versions)
        wanted = f"alias {alias}" if alias else f"version {number}"
        raise UserError(f"registered model {name}: expected {wanted}, it has {there or 'no version'}")

    def measured(self, version: Version) -> Evaluation:
        """The report of a version, and its replicates."""
        with tempfile.TemporaryDirectory() as folder, self._reached():
            for file in (REPORT, str(replicates_file(Path(REPORT)))):
                self._client.download_artifacts(version.run_id, file, folder)
            return load_evaluation(Path(folder) / REPORT)

    def register(self, run_id: str, model: Path, name: str, tags: dict[str, str]) -> str:
        """The model in MLflow's sentence-transformers flavour, which `mlflow models serve` serves, as the run's version.

        Args:
            run_id: the run whose LoggedModel takes its files.
            model: a sentence-transformers folder; its `codecs/` come along.
            name: registered model.
            tags: of the version.

        Returns:
            Its number.
        """
        import sentence_transformers

        with tempfile.TemporaryDirectory() as folder, self._reached():
            path = Path(folder) / "model"
            mlflow.sentence_transformers.save_model(
                _as_the_library_has_it(model),
                str(path),
                pip_requirements=[f"sentence-transformers=={sentence_transformers.__version__}"],
            )
            model_id = self._logged_model(run_id, name)
            self._client.log_model_artifacts(model_id, str(path))
            if (model / "codecs").exists():
                self._client.log_artifacts(run_id, str(model / "codecs"), "codecs")
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            if there := [version for version in self.versions(name) if version.run_id == run_id]:
                self.tag(there[-1], tags)  # whoever registered it died before its aliases pointed at it
                return there[-1].number
            source = f"models:/{model_id}"
            if not self._uri.startswith("http"):  # MLflow would look for it at its global address
                source = self._client.get_logged_model(model_id).artifact_location
            version = self._client.create_model_version(
                name, source=source, run_id=run_id, tags=tags, await_creation_for=0, model_id=model_id
            )
        return str(version.version)

    def _logged_model(self, run_id: str, name: str) -> str:
        """The id of a run's LoggedModel; one that an earlier version of us has told of none gets one."""
        run = self._client.get_run(run_id)
        return MlflowRun(self._client, run_id, run.info.experiment_id).logged_model(
            run.info.run_name or name, {}
        )

    def point(self, name: str, alias: str, number: str) -> None:
        """Let an alias point at a version."""
        with self._reached():
            self._client.set_registered_model_alias(name, alias, number)

    def tag(self, version: Version, tags: dict[str, str]) -> None:
        """Add tags to a version."""
        with self._reached():
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, version.number, key, value)

    def fetch(self, version: Version, alias: str | None, into: Path) -> Path:
        """A folder with the plain model, its report and, for the codec of `alias`, `codec/`."""
        if alias:
            check_name(alias, "alias")
        with tempfile.TemporaryDirectory() as folder, self._reached():
            files = self._client.get_model_version_download_uri(version.name, version.number)
            model = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{files}/{MODEL}", dst_path=folder, tracking_uri=self._uri
            )
            shutil.copytree(model, into, dirs_exist_ok=True)
            for file in (REPORT, SETTINGS):
                self._client.download_artifacts(version.run_id, file, str(into))
            there = {a.path for a in self._client.list_artifacts(version.run_id, "codecs")}
            if alias and f"codecs/{alias}" in there:
                codec = self._client.download_artifacts(version.run_id, f"codecs/{alias}", folder)
                shutil.copytree(codec, into / "codec", dirs_exist_ok=True)
        return into


def _as_the_library_has_it(model: Path) -> Any:
    """The model in a folder as a SentenceTransformer; no code of the folder is run, and pictures have our own class, which is here."""
    from sentence_transformers import SentenceTransformer

    if is_ours(model):
        from tempembed.encoders.image_module import PictureModule

        return SentenceTransformer(modules=[PictureModule.load(str(model))], device="cpu")
    return SentenceTransformer(str(model), device="cpu", trust_remote_code=False)


def fetch_version(
    uri: str | None, name: str | None, alias: str | None, number: str | None, into: Path
) -> Provenance:
    """Fetch a version's folder, as `Registry.fetch`; returns where it is from.

    Raises:
        UserError: no registry, model, alias or version.
    """
    registry = Registry(default_uri(uri))
    version = registry.version(registry.name(name), alias=alias, number=number)
    registry.fetch(version, alias, into)
    tags = version.tags
    return Provenance(
        codec=tags.get(f"{alias}.codec", "float32"), objective=tags.get("objective", ""),
        terms=tuple(tags.get("terms", "").split()), encoder=tags.get("encoder", ""),
        seed=int(tags["seed"]) if "seed" in tags else None, data=tags.get("data", ""),
        data_fingerprint=tags.get("training_fingerprint", ""), test_data=tags.get("test_data", ""),
        registered_name=version.name, version=version.number, alias=alias or "", run_id=version.run_id,
    )  # fmt: skip


def default_uri(given: str | None) -> str:
    """Where the registry is: as given, else MLFLOW_TRACKING_URI, else what `make demo` left.

    Raises:
        UserError: nowhere.
    """
    demo = Path("results/stack/mlflow.db")
    uri = (
        given
        or os.environ.get("MLFLOW_TRACKING_URI")
        or (f"sqlite:///{demo.absolute()}" if demo.exists() else None)
    )
    if uri is None:
        raise UserError(
            f"expected --mlflow-uri or MLFLOW_TRACKING_URI, or {demo} of an earlier `make demo`, found none of them"
        )
    return uri
