"""Names and addresses that users give."""

import pytest

from tempembed.system.errors import UserError
from tempembed.system.names import check_name, file_name
from tempembed.system.redact import redact, redact_flag, refuse_secret
from tempembed.tuning.ledger import Ledger

BAD = (
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "-x",
    ".hidden",
    "a b",
    "a'b",
    "a\nb",
    "a\0b",
    "é",
    "x" * 129,
    "x\n",
)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_part_of_a_path_is_no_name(name):
    with pytest.raises(UserError, match="expected a name of letters"):
        check_name(name, "run")


@pytest.mark.parametrize("name", ["a", "0", "tempaggmrl-0.06_seed0", "x" * 128])
def test_names_pass(name):
    assert check_name(name, "run") == name


@pytest.mark.parametrize("text", BAD)
def test_any_text_becomes_a_name(text):
    assert check_name(file_name(text), "model")


def test_a_trial_stays_in_its_sweep(tmp_path):
    ledger = Ledger(tmp_path / "sweep")
    with pytest.raises(UserError, match=r"trial '\.\./\.\./other'"):
        ledger.record("../../other", number=0)
    ledger.record("mine", number=0)
    record = tmp_path / "sweep" / "trials" / "mine" / "trial.json"
    record.write_text(record.read_text().replace("mine", "../../other"))
    with pytest.raises(UserError, match="expected the record of trial mine with its number"):
        ledger.records()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hunter2@host:5000", "https://hunter2@host/path", "postgresql+psycopg2://me:hunter2@[::1]:5432/db?sslmode=on",
        "mysql://me:hun/ter2@host/db", "http://host/?token=hunter2", "postgresql://host/db?user=me&password=hunter2#x",
    ],
)  # fmt: skip
def test_secrets_of_an_address_are_hidden(uri):
    shown = redact(f"MLflow at {uri}: no answer")
    assert "hunter2" not in shown
    assert "ter2" not in shown
    assert "host" in shown or "[::1]" in shown
    assert redact_flag("--mlflow-uri", uri) == ()
    with pytest.raises(UserError, match="expected an address without a password") as error:
        refuse_secret("--mlflow-uri", uri)
    assert "ter2" not in str(error.value)


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "sqlite:////data/me@home/mlflow.db", "https://host/a@b"]
)
def test_addresses_without_secrets_are_shown(uri):
    assert redact(uri) == uri
    refuse_secret("--mlflow-uri", uri)
