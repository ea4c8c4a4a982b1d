"""What describes a cluster: fits the schemas, and says only what the programs that it calls understand."""

import copy
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CLUSTER = yaml.safe_load((ROOT / "cluster.yaml").read_text())
RAYJOB = yaml.safe_load((ROOT / "rayjob.yaml").read_text())
COMMANDS = [command for key, value in CLUSTER.items() if key.endswith("commands") for command in value]


def test_cluster_yaml_fits_rays_schema():
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(CLUSTER, schema)
    broken = {**CLUSTER, "head_node": {}}
    with pytest.raises(jsonschema.ValidationError, match="head_node"):
        jsonschema.validate(broken, schema)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:30])
def test_commands_are_bash(command):
    done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def flags_of(program):
    """The long flags that it is called with."""
    parts = [command.split(program, 1)[1].split(">")[0] for command in COMMANDS if program in command]
    assert parts, program
    return {flag for part in parts for flag in re.findall(r"--[a-z.-]+", part)}


def test_ray_and_mlflow_know_their_flags():
    from mlflow.cli import cli
    from ray.scripts.scripts import start

    assert flags_of("ray start") <= {name for each in start.params for name in each.opts}
    server = cli.commands["server"]
    assert flags_of("mlflow server") <= {name for each in server.params for name in each.opts}
    settings = {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"}
    assert settings <= {each.envvar for each in server.params if isinstance(each.envvar, str)}
    assert all(name in (ROOT / "cluster.yaml").read_text() for name in settings)


@pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus is not installed (apt-get install prometheus)"
)
def test_prometheus_knows_its_flags():
    known = subprocess.run(["prometheus", "--help"], capture_output=True, text=True)
    assert flags_of("nohup prometheus") <= set(re.findall(r"--[a-z.-]+", known.stdout + known.stderr))


def test_commands_name_files_that_are_there_and_listen_on_loopback():
    text = " ".join(COMMANDS)
    for place in set(re.findall(r"dashboards/[\w./-]+", text)):
        assert (ROOT / place).exists(), place
    assert set(re.findall(r"(?:--host |host=|listen-address=)([\w.]+)", text)) == {"127.0.0.1"}


POD = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["name", "image"],
                        "properties": {
                            "env": {"items": {"required": ["name"], "properties": {"value": {"type": "string"}}}},
                            "ports": {"items": {"required": ["containerPort"],
                                                "properties": {"containerPort": {"type": "integer"}}}},
                            "volumeMounts": {"items": {"required": ["name", "mountPath"]}},
                            "resources": {"additionalProperties": False, "properties": {"requests": {}, "limits": {}, "claims": {}}},
                        },
                    },
                },
                "volumes": {"items": {"required": ["name"]}},
            },
        }
    },
}  # fmt: skip
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
NUMBER, FLAG, TEXT = {"type": "integer"}, {"type": "boolean"}, {"type": "string"}
# KubeRay's fields, from its Go types (ray-operator/apis/ray/v1), those that nobody here would set left out
HEAD = {
    "type": "object",
    "required": ["template"],
    "additionalProperties": False,
    "properties": {"template": POD, "rayStartParams": TEXTS, "resources": TEXTS, "labels": TEXTS, "serviceType": TEXT,
                   "enableIngress": FLAG},
}  # fmt: skip
WORKERS = {
    "type": "object",
    "required": ["groupName", "minReplicas", "maxReplicas", "template"],
    "additionalProperties": False,
    "properties": {"groupName": TEXT, "replicas": NUMBER, "minReplicas": NUMBER, "maxReplicas": NUMBER, "numOfHosts": NUMBER,
                   "idleTimeoutSeconds": NUMBER, "rayStartParams": TEXTS, "resources": TEXTS, "labels": TEXTS, "template": POD},
}  # fmt: skip
SPEC = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "entrypoint": TEXT, "runtimeEnvYAML": TEXT, "jobId": TEXT, "metadata": TEXTS, "activeDeadlineSeconds": NUMBER,
        "backoffLimit": NUMBER, "ttlSecondsAfterFinished": NUMBER, "shutdownAfterJobFinishes": FLAG, "suspend": FLAG,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "entrypointNumCpus": {"type": "number"}, "entrypointNumGpus": {"type": "number"}, "entrypointResources": TEXT,
        "rayClusterSpec": {
            "type": "object",
            "required": ["headGroupSpec"],
            "additionalProperties": False,
            "properties": {
                "rayVersion": TEXT, "enableInTreeAutoscaling": FLAG, "headGroupSpec": HEAD,
                "workerGroupSpecs": {"type": "array", "items": WORKERS},
                "authOptions": {"type": "object", "additionalProperties": False,
                                "properties": {"mode": {"enum": ["disabled", "token"]}, "secretName": TEXT}},
            },
        },
    },
}  # fmt: skip
JOB = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": "RayJob"}, "metadata": {"required": ["name"]},
                   "spec": SPEC},
}  # fmt: skip


def cluster_of(job):
    return job["spec"]["rayClusterSpec"]


def test_the_rayjob_fits_the_part_of_kuberays_schema_that_we_wrote_down():
    jsonschema.validate(RAYJOB, JOB)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: job["spec"].update(entryPoint="x"),
        lambda job: job["spec"].update(backoffLimit="2"),
        lambda job: cluster_of(job).pop("headGroupSpec"),
        lambda job: cluster_of(job)["authOptions"].update(mode="tokens"),
        lambda job: cluster_of(job)["workerGroupSpecs"][0].pop("maxReplicas"),
        lambda job: cluster_of(job)["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda job: cluster_of(job)["headGroupSpec"]["template"]["spec"]["containers"][0].pop("image"),
        lambda job: cluster_of(job)["headGroupSpec"]["template"]["spec"]["containers"][0]["env"][0].update(
            value=1
        ),
    ],
)
def test_that_part_notices_mistakes(spoil):
    job = copy.deepcopy(RAYJOB)
    spoil(job)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, JOB)


@pytest.mark.skipif(
    "RAYJOB_CRD" not in os.environ, reason="RAYJOB_CRD: expected the place of KubeRay's ray.io_rayjobs.yaml"
)
def test_the_rayjob_fits_kuberays_published_schema():
    crd = yaml.safe_load(Path(os.environ["RAYJOB_CRD"]).read_text())
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == "v1"]
    jsonschema.validate(RAYJOB, strict(schema))


def strict(schema):
    """A field that is not there is dropped by Kubernetes in silence; here it is an error."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    free = "additionalProperties" in made or made.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(made.get("properties"), dict) and made.get("type") == "object" and not free:
        made["additionalProperties"] = False
    return made


def test_the_rayjob_and_the_cluster_ask_for_what_we_pin():
    import ray

    from ray_jobs.sweep import Sweep
    from tempembed.settings.flat import names

    assert cluster_of(RAYJOB)["rayVersion"] == ray.__version__
    words = RAYJOB["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "ray_jobs.tune"]
    flags = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    assert {"data", "use_gpu"} <= flags <= names(Sweep).keys()
