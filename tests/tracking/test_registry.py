"""The registry on a local MLflow store: versions, aliases, and what comes back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from ray_jobs.local_stack import free_port
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.trained import evaluate_trained, save_codecs
from tempembed.inputs.tokens import Tokens
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError
from tempembed.tracking.mlflow import start_run
from tempembed.tracking.mlflow_run import MlflowRun
from tempembed.tracking.registry import Registry, default_uri, fetch_version
from tempembed.tracking.winners import Candidate, promote
from tempembed.tuning.trial import Trial, TrialTerm

pytestmark = pytest.mark.mlflow
ALIASES = ("full", "bytes-32", "bytes-8")


@pytest.fixture(scope="module")
def store(tmp_path_factory, mlflow_tables):
    """Two trained-looking models on one test, a good and a bad one, as a sweep leaves them."""
    root = tmp_path_factory.mktemp("registry")
    words = [f"word{i} thing{i % 7} group{i % 5}" for i in range(120)]
    corpus = Corpus(
        queries=[f"word{i} thing{i % 7}" for i in range(120)], documents=words, relevant=[[i] for i in range(120)]
    )  # fmt: skip
    tokenizer = train_tokenizer(words, 200)
    uri = f"sqlite:///{root / 'mlflow.db'}"
    shutil.copy(mlflow_tables, root / "mlflow.db")
    parent = start_run(uri, "tests", "sweep", {}, "identity")
    candidates = {}
    for seed, name in enumerate(("bad", "good")):
        encoder = static_encoder(tokenizer, width=64, max_tokens=16, seed=seed)
        if name == "bad":
            encoder.table.data[::2] = 0  # half of the tokens mean nothing
        folder = root / name
        encoder.save(folder)
        test = (
            corpus,
            encoder.prepare(corpus.queries, encoder.role("query")),
            encoder.prepare(corpus.documents, encoder.role("document")),
        )
        assert isinstance(test[1], Tokens)
        report = evaluate_trained(folder, test, budgets=(32, 8))
        run = parent.child(name, {"seed": seed})
        (folder / "settings.json").write_text(json.dumps(TrainSettings().to_dict()))
        for file in ("evaluation.json", "evaluation.replicates.safetensors", "settings.json"):
            run.file(folder / file)
        trial = Trial(
            name=name, status="FINISHED", objective=f"infonce:0.0{seed + 1}", seed=seed, encoder="static",
            report=report, terms=(TrialTerm(dim=64, temperature=0.05, weight=1.0),),
        )  # fmt: skip
        candidates[name] = Candidate(name=name, folder=folder, run_id=run.run_id, trial=trial)
    return uri, candidates, lambda folder, specs: save_codecs(folder, test, specs)


def test_aliases_go_to_the_better_and_stay_there(store, tmp_path, monkeypatch):
    uri, candidates, save = store
    registry = Registry(uri)
    _, first = promote(registry, [candidates["bad"]], ALIASES, "my data", "f" * 16, save)
    assert [d.promote for d in first] == [True] * 3
    _, second = promote(registry, [candidates["bad"], candidates["good"]], ALIASES, "my data", "f" * 16, save)
    assert [d.promote for d in second] == [True] * 3
    assert all(d.ci[0] > 0 for d in second)
    _, third = promote(registry, list(candidates.values()), ALIASES, "my data", "f" * 16, save)
    assert [d.promote for d in third] == [False] * 3
    assert "cannot be told from it" in third[0].why
    name = registry.name(None)
    assert name.startswith("tempembed-my-data-")
    versions = registry.versions(name)
    assert [(v.number, v.aliases) for v in versions] == [("1", ()), ("2", tuple(sorted(ALIASES)))]
    tags = versions[1].tags
    assert tags["objective"] == "infonce:0.02"
    assert 0.5 < float(tags["bytes-32.score"]) < 1
    assert tags["bytes-8.codec"].startswith(("prefix:", "pca:"))
    # what comes back is what was trained, and the codec that was measured
    fields = fetch_version(uri, None, "bytes-8", None, tmp_path / "back")
    assert fields.version == "2"
    assert fields.codec == tags["bytes-8.codec"]
    text = ["word3 thing3"]
    there = SentenceTransformer(str(candidates["good"].folder)).encode(text)
    assert (SentenceTransformer(str(tmp_path / "back")).encode(text) == there).all()
    assert json.loads((tmp_path / "back" / "codec" / "codec.json").read_text())["codec"] == fields.codec
    # the default address
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert default_uri(None) == uri


def test_what_is_not_there(store, tmp_path, monkeypatch):
    uri, *_ = store
    registry = Registry(uri)
    with pytest.raises(UserError, match=r"expected the registered model nothing, it has tempembed-my-data-"):
        registry.name("nothing")
    with pytest.raises(UserError, match=r"expected alias bytes-64, it has version 1 \(no alias\), version 2"):
        registry.version(registry.name(None), alias="bytes-64")
    with pytest.raises(UserError, match="found no file; run a sweep first"):
        Registry(f"sqlite:///{tmp_path / 'none.db'}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="expected MLflow to answer"):
        Registry("http://127.0.0.1:9").name(None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="expected --mlflow-uri or MLFLOW_TRACKING_URI"):
        default_uri(None)


def test_a_run_that_is_registered_again_is_the_same_version(store):
    """Whoever registered it may have died before its aliases pointed at it."""
    uri, candidates, _ = store
    registry, good = Registry(uri), candidates["good"]
    number = registry.register(good.run_id, good.folder, "tempembed.again", {"seed": "1"})
    assert registry.register(good.run_id, good.folder, "tempembed.again", {"seed": "2"}) == number
    (version,) = registry.versions("tempembed.again")
    assert version.tags["seed"] == "2"


def test_the_settings_of_a_run_arrive_whoever_made_it_died(mlflow_uri, monkeypatch):

    def dies(self, params):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowRun, "params", dies)
        with pytest.raises(KeyboardInterrupt):
            start_run(mlflow_uri, "tests", "sweep", {"a": 1}, "id-1")
    run = start_run(mlflow_uri, "tests", "sweep", {"a": 1}, "id-1")
    assert run._client.get_run(run.run_id).data.params == {"a": "1"}


def test_a_run_with_the_same_identity_goes_on(mlflow_uri):
    first = start_run(mlflow_uri, "tests", "sweep", {"a": 1}, "id-1")
    child = first.child("trial", {"b": 2})
    first.finish("KILLED")
    again = start_run(mlflow_uri, "tests", "sweep", {"a": 1}, "id-1")
    assert again.run_id == first.run_id
    assert again.child("trial", {"b": 2}).run_id == child.run_id
    assert again.find("trial").run_id == child.run_id
    assert again.find("other") is None
    assert start_run(mlflow_uri, "tests", "sweep", {"a": 1}, "id-2").run_id != first.run_id


def test_mlflow_serves_a_version_that_answers_with_its_embeddings(store, tmp_path):
    """`mlflow models serve` as a user starts it."""
    uri, candidates, save = store
    registry = Registry(uri)
    promote(registry, [candidates["good"]], ALIASES, "served", "f" * 16, save)
    name = registry.name(None)
    port = free_port(0, set())
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        f"models:/{name}@full",
        "--env-manager",
        "local",
    ]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
    try:
        texts = ["word3 thing3", "word7"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": texts}).encode(),
            {"Content-Type": "application/json"},
        )
        answer = _answer(request, tmp_path / "log")
        model = SentenceTransformer(str(candidates["good"].folder), device="cpu")
        np.testing.assert_allclose(answer["predictions"], model.encode(texts), rtol=1e-6)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _answer(request, log):
    for _ in range(240):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])
