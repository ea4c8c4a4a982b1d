"""A regulariser of another package, chosen by its name. docs/extending/regulariser.md shows it."""

import sys

import pytest
import torch

from tempembed.commands.train import Train, train_command
from tempembed.diagnostics import selfcheck
from tempembed.encoders.load import load_encoder
from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.objectives.regularisers.registry import parse_regulariser
from tempembed.parallel.pool import run_on_ranks
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError
from tempembed.tracking.jsonl import read_jsonl

MODULE = '''
def short(batch, power=2.0):
    """Length of the embeddings to a power, by default squared: pulls them to the origin."""
    sides = batch.queries_GD, batch.documents_GD
    return sum(side.norm(dim=1).pow(power).mean() for side in sides) / 2
'''


@pytest.fixture
def name(tmp_path, monkeypatch):
    (tmp_path / "my_regulariser.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_regulariser:short"
    sys.modules.pop("my_regulariser", None)


def settings(data_dir, **more):
    return TrainSettings.of(
        data=str(data_dir / "train.parquet"),
        width=32,
        vocabulary=400,
        batch_size=32,
        steps=20,
        log_every=5,
        **more,
    )


def test_it_is_part_of_a_run_by_its_name(name, data_dir, tmp_path):
    for folder, more in (("without", {}), ("with", {"regularisers": (f"{name}:100",)})):
        train_command(Train(train=settings(data_dir, **more), output=str(tmp_path / folder)))
    shrunk, free = (load_encoder(str(tmp_path / folder)).table.norm() for folder in ("with", "without"))
    assert shrunk < 0.9 * free
    first, *_, last = read_jsonl(tmp_path / "with" / "metrics.jsonl")
    value = f"train/regulariser/{name}"
    assert last[value] < first[value]
    terms = sum(v for key, v in last.items() if key.startswith("train/loss/"))
    assert last["train/loss"] == pytest.approx(terms + 100 * last[value], rel=1e-5)


def test_numbers_behind_its_name_go_to_it(name, data_dir, tmp_path):
    for power in ("2", "4"):
        given = settings(data_dir, regularisers=(f"{name}({power}):0.1",))
        train_command(Train(train=given, output=str(tmp_path / power)))
    key = f"train/regulariser/{name}"
    two, four = (read_jsonl(tmp_path / power / "metrics.jsonl")[0][key] for power in ("2", "4"))
    assert four == pytest.approx(two**2, rel=0.2)
    assert four != pytest.approx(two, rel=0.2)


def test_another_weight_is_another_run(name, data_dir, tmp_path):
    one = settings(data_dir, regularisers=(f"{name}:0.5",))
    train_command(Train(train=one, output=str(tmp_path / "run"), stop_after=5))
    other = settings(data_dir, regularisers=(f"{name}:0.7",))
    with pytest.raises(
        UserError, match=r"regularisers: my_regulariser:short:0\.5 there, my_regulariser:short:0\.7 here"
    ):
        train_command(Train(train=other, output=str(tmp_path / "run"), resume=True))


@pytest.mark.parametrize(
    "text",
    [
        "uniformity",
        "uniformity:",
        "uniformity:0",
        "uniformity:nan",
        "nobody:0.1",
        "x:y:0.1",
        ":1",
        "uniformity(1):0.1",
        "kl(1,2,3):0.1",
        "kl():0.1",
        "kl(0):0.1",
        "kl(x):0.1",
        "kl(1:0.1",
        "kl(nan):0.1",
        "margin-mse(1)",
    ],
)
def test_what_is_no_regulariser_is_said(text):
    with pytest.raises(UserError, match="--regularisers"):
        parse_regulariser(text)


REGULARISERS = (
    "uniformity:0.5", "koleo:0.2", "cos2:5", "decorrelation:5", "balance:5", "margin-mse(2):0.5", "kl(0.1,1):0.3",
)  # fmt: skip


def _gradients():
    """Of every one, by name."""
    return {
        name: selfcheck.gradients(selfcheck.Case(regularisers=(name,), num_negatives=3))[0]
        for name in REGULARISERS
    }


@pytest.fixture(scope="module")
def on_ranks():
    return run_on_ranks(2, _gradients)[0]


@pytest.mark.gloo
@pytest.mark.parametrize("ours", REGULARISERS)
def test_ranks_give_the_one_process_gradient(ours, on_ranks):
    want = selfcheck.gradients(selfcheck.Case(regularisers=(ours,), num_negatives=3))[0]
    plain = selfcheck.gradients(selfcheck.Case(num_negatives=3))[0]
    assert selfcheck.error(want[1:], plain[1:]) > 1e-3  # it counts
    assert selfcheck.error(on_ranks[ours], want) < 1e-10


def test_statistics_of_coordinates_are_their_formulas():
    from tempembed.objectives.regularisers.balance import balance
    from tempembed.objectives.regularisers.cos2 import cos2
    from tempembed.objectives.regularisers.decorrelation import decorrelation

    x, y = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = EmbeddedBatch(queries_BD=3 * x, documents_BD=y)
    units = [torch.nn.functional.normalize(side, dim=1) for side in (x, y)]
    unlike = ~torch.eye(7, dtype=torch.bool)
    want = [(side @ side.T)[unlike].square().mean() for side in units]
    torch.testing.assert_close(cos2(batch), sum(want) / 2)
    want = [torch.corrcoef(side.T)[~torch.eye(5, dtype=torch.bool)].square().mean() for side in units]
    torch.testing.assert_close(decorrelation(batch), sum(want) / 2, rtol=1e-6, atol=0)
    want = [((side > 0).double() * 2 - 1).mean(0).square().mean() for side in units]
    torch.testing.assert_close(balance(batch), sum(want) / 2)


def test_uniformity_is_the_formula():
    from tempembed.objectives.regularisers.koleo import koleo
    from tempembed.objectives.regularisers.uniformity import uniformity

    x, y = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, y = (torch.nn.functional.normalize(side, dim=1) for side in (x, y))

    def potential(side):
        pairs = [(-2 * (side[i] - side[j]).square().sum()).exp() for i in range(7) for j in range(7) if i < j]
        return torch.stack(pairs).mean().log()

    def entropy(side):
        nearest = [min((side[i] - side[j]).norm() for j in range(7) if j != i) for i in range(7)]
        return -torch.stack(nearest).log().mean()

    batch = EmbeddedBatch(queries_BD=3 * x, documents_BD=y)
    torch.testing.assert_close(uniformity(batch), (potential(x) + potential(y)) / 2)
    torch.testing.assert_close(koleo(batch), (entropy(x) + entropy(y)) / 2)
