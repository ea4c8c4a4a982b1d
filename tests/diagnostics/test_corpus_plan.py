import pytest

from tempembed.codecs.spec import parse_spec
from tempembed.commands.plan import Plan, plan_command
from tempembed.diagnostics import corpus_plan
from tempembed.diagnostics.corpus_plan import CorpusPlan, Rate, plan_corpus, rate
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.system.errors import UserError

TEXTS = [
    f"open the {word} and close it {number}"
    for number in range(20)
    for word in ("file", "socket", "door", "lid")
]


@pytest.fixture
def encoder():
    return static_encoder(train_tokenizer(TEXTS, 300), width=64, max_tokens=32, seed=0)


def test_a_rate_is_the_line_through_two_sizes_and_a_third_checks_it(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(corpus_plan.time, "process_time", lambda: clock[0])

    def work(size):
        clock[0] += 3 + 0.5 * size + (10 if size == 40 else 0)  # the largest is slower than the line says

    found = rate(work, (10, 20, 40))
    assert found.seconds == 0.5
    assert found.predicted == 23
    assert found.measured == 33
    assert found.miss == pytest.approx(23 / 33 - 1)


def test_what_breaks_first_is_the_smallest_limit():
    def seconds(each):
        return Rate(seconds=each, size=1, predicted=1, measured=1)

    plan = CorpusPlan(
        num=1e6, spec=parse_spec("binary", 1024), encode=seconds(1e-3), search=seconds(1e-9), disk_bytes=300, shard_rows=1000,
        cores=2, memory=128 * 10**6, disk=10**12,
    )  # fmt: skip
    (first, why), *_ = plan.limits
    assert first == 10**6
    assert "fill the 0.1 GB of memory" in why
    text = plan.text(price=3.6)
    for line in (
        "0.1 GB of codes that are searched",
        "0.3 GB in 1,000 shards",
        "0.3 core hours, 0.1 h on 2 cores",
        "1.00 at 3.6 a core hour",
    ):
        assert line in text, text


def test_bytes_are_those_of_shards_and_rates_are_measured(encoder, monkeypatch, tmp_path):
    monkeypatch.setattr(corpus_plan, "SECONDS", 0.05)
    monkeypatch.setattr(corpus_plan, "MOST_CODES", 20_000)
    found = plan_corpus(
        1e6,
        parse_spec("float16", 64),
        encoder,
        TEXTS,
        shard_rows=1000,
        cores=2,
        place=tmp_path / "none" / "yet",
    )
    assert 220 < found.disk_bytes < 2 * 128 + 40  # twice the code, once compressed, and an id
    assert found.encode.measured > 0
    assert found.search.measured > 0


def test_the_command_refuses_what_cannot_be(encoder, tmp_path):
    encoder.save(tmp_path / "model")
    (tmp_path / "few.txt").write_text("one\ntwo")
    common = {"documents": 1e9, "encoder": str(tmp_path / "model"), "data": str(tmp_path / "few.txt")}
    for flags, message in (
        ({"engine": "pgvector", "codec": "int8"}, "expected a codec that it holds"),
        ({}, "expected at least 64 documents to measure with, got 2"),
        ({"documents": 0.1}, "expected 1 to 1e15"),
        ({"encoder": "static"}, "expected a model that is there"),
    ):
        with pytest.raises(UserError, match=message):
            plan_command(Plan(**{**common, **flags}))
