import pytest

from tempembed.objectives.parse import parse_terms
from tempembed.objectives.term import BLUNT
from tempembed.system.errors import UserError
from tempembed.tuning.space import FAMILIES, LEAST, MOST, check_families
from tempembed.tuning.study import Study


def study(path, families=tuple(FAMILIES), **more):
    return Study(
        path, **{"num_goals": 2, "families": families, "width": 256, "sampler": "tpe", "seed": 0} | more
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_point_of_a_family_is_valid_and_inside_the_bounds(family, tmp_path):
    asked = study(tmp_path / "s.db", (family,))
    for _ in range(12):  # the first ten are drawn at random, then TPE proposes
        number, point = asked.ask()
        assert point.family == family
        # as text and back: that is what a trial is given
        assert parse_terms([str(term) for term in point.terms], 256) == point.terms
        assert all(term.dim in (64, 128, 256) for term in point.terms)
        assert all(LEAST * 0.999 <= term.temperature <= MOST * 1.001 for term in point.terms)
        assert (point.beta > 0) == (family == "hard")
        if len({term.dim for term in point.terms}) == 3:
            by_dim = {term.dim: term.weight for term in reversed(point.terms) if term.view != "bits"}
            assert sum(by_dim.values()) == pytest.approx(3, abs=0.01)
        assert all(term.temperature <= BLUNT for term in point.terms if term.view != "float")
        asked.tell(number, "finished", [point.terms[0].temperature, 0.0])


def test_a_study_goes_on_where_it_was(tmp_path):
    first = study(tmp_path / "s.db")
    for i in range(12):
        number, _ = first.ask()
        first.tell(number, ("finished", "stopped", "failed")[i % 3], [0.1 * i, 0.5])
    first.tell(0, "failed")  # told twice: the first counts
    again = study(tmp_path / "s.db")
    assert again.num_asked == 12
    number, _ = again.ask()
    assert number == 12
    states = [t.state.name for t in again._study.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL"] * 4 + ["RUNNING"]


def test_tpe_prefers_what_was_better(tmp_path):
    """One goal that falls with the temperature: later trials are colder than the first ones."""
    asked = study(tmp_path / "s.db", ("infonce",), num_goals=1)
    drawn = []
    for _ in range(40):
        number, point = asked.ask()
        drawn.append(point.terms[0].temperature)
        asked.tell(number, "finished", [-drawn[-1]])
    assert sum(drawn[-10:]) < sum(drawn[:10]) / 2


def test_a_family_on_signs_adds_them_to_terms_on_floats(tmp_path):
    _, point = study(tmp_path / "s.db", ("tempaggmrl-sign",)).ask()
    assert [(term.dim, term.view) for term in point.terms[-2:]] == [(64, "sign"), (256, "sign")]
    assert {term.view for term in point.terms[:-2]} == {"float"}


def test_unknown_families_are_refused():
    with pytest.raises(UserError, match=r"expected some of infonce mrl .*got colbert"):
        check_families(["mrl", "colbert"])
    with pytest.raises(UserError, match="got none"):
        check_families([])
