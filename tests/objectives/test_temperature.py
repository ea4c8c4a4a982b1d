"""Temperatures that move."""

import math

import pytest
import torch

from tempembed.losses.contrastive import contrastive_loss
from tempembed.losses.temperature import Temperatures
from tempembed.objectives.parse import parse_objective, parse_terms
from tempembed.objectives.temperature import LEAST, Course, parse_temperature
from tempembed.system.errors import UserError


def test_courses():
    cosine = Course("cosine", (0.03, 0.1))
    assert [round(cosine.at(p), 6) for p in (0, 0.25, 0.5, 1)] == [0.1, 0.065, 0.03, 0.1]
    assert Course("cosine", (0.03, 0.1, 4)).at(1 / 8) == pytest.approx(0.03)
    assert Course("linear", (0.03, 0.1)).at(0.5) == pytest.approx(0.065)
    assert Course("cooldown", (0.4, 0.1)).at(0.5) == pytest.approx(0.2)
    assert Course("cooldown", (0.4, 0.1)).at(1) == pytest.approx(0.1)


def test_a_curve_stays_between_its_ends():
    for course in (
        Course("linear", (1e308, 0.03)),
        Course("cosine", (0.03, 1e308, 1e6)),
        Course("linear", (1e-40, 1e-40)),
    ):
        values = [course.at(done / 8) for done in range(9)]
        assert min(course.values[:2]) <= min(values) <= max(values) <= max(course.values[:2])
    assert Course("linear", (0.03, 0.1)).at(1.0) == 0.1


def test_kukleva_at_the_paper_code_epochs():
    """tau_min + (tau_max - tau_min) (1 + cos(pi epoch / t_max)) / 2, t_max 200 of 800 epochs: two periods."""
    course = Course("cosine", (0.1, 1.0, 2))
    for epoch in (0, 37, 200, 555):
        want = 0.1 + 0.5 * 0.9 * (1 + math.cos(math.pi * epoch / 200))
        assert course.at(epoch / 800) == pytest.approx(want)


def test_they_stand_wherever_a_number_does():
    terms = parse_objective("tempagg:0.03,cosine(0.03,0.1,4),learned(0.06)", 64)
    assert [str(term) for term in terms] == ["64@0.03", "64@cosine(0.03,0.1,4)", "64@learned(0.06)"]
    assert [term.temperature for term in terms] == [0.03, 0.1, 0.06]
    assert parse_terms(["16@linear(0.03,0.1)*0.5"], 64)[0].label == "dim_16_temperature_linear_0.03_0.1"
    assert parse_temperature("learned(0.06)") == (0.06, Course("learned", (0.06,)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("infonce:cosine(0.1,0.03)", "least value first"),
        ("infonce:warm(1)", "expected one of 0.06, cosine"),
        ("infonce:linear(0.1)", "expected one of 0.06, cosine"),
        ("infonce:cooldown(0.1,0)", "finite numbers > 0"),
        ("infonce:learned(0.001)", "from 0.01 to 10"),
        ("infonce:cosine(a,b)", "expected numbers"),
        ("tempagg:learned(0.1),learned(0.1)", "more than once"),
    ],
)
def test_bad_courses(text, message):
    with pytest.raises(UserError, match=message):
        parse_objective(text, 64)


def test_a_learned_temperature_follows_its_gradient_and_stays_in_bounds():
    terms = parse_objective("tempagg:learned(0.3),0.1,linear(0.1,0.2)", 8)
    temperatures = Temperatures(terms)
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    contrastive_loss(x, x, terms, temperatures_T=temperatures(0.5)).objective.backward()
    assert temperatures(0.5).tolist() == pytest.approx([0.3, 0.1, 0.15])
    gradient = temperatures.log_scale.grad
    step = 1e-3
    values = []
    for sign in (1, -1):
        tau = math.exp(-(math.log(1 / 0.3) + sign * step))
        values.append(
            contrastive_loss(x, x, parse_objective(f"infonce:{tau!r}", 8), dense=True).objective.item()
        )
    assert gradient.item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-2)
    assert gradient < 0  # a query is its own document: colder is better
    with torch.no_grad():
        temperatures.log_scale.fill_(9.0)
    temperatures.clamp()
    assert temperatures(0.0)[0].item() == pytest.approx(LEAST)
