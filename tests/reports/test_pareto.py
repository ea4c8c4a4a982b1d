from tempembed.evaluation.choice import Choice
from tempembed.reports.codecs_page import codec_text, recommendation
from tests.rows import score_row


def row(spec, size, score, low=0.0, high=1.0):
    return score_row(
        task="t", metric="m", spec=spec, bytes_per_vector=size, score=score, ci_low=score - 0.1, ci_high=score + 0.1,
        retention=score / 0.8, retention_ci_low=low, retention_ci_high=high,
    )  # fmt: skip


def choice(score, rival, ci):
    other = row("pca:8+int8", 8, rival)
    return Choice(16, row("int8", 16, score, 0.9, 0.98), other, ci, [other] if ci[0] <= 0 else [])


def test_the_recommendation_says_what_is_lost_and_whether_the_runner_up_is_worse():
    text = recommendation(choice(0.76, 0.7, (-0.01, 0.1)))
    assert text.startswith("For 16 bytes: int8 (16 bytes), m 0.7600, keeps 95.0% of full float32")
    assert "95 % interval 90.0% to 98.0%): you lose 5.0%." in text
    assert "Runner-up pca:8+int8, which the data cannot tell from it (difference 0.0600" in text
    assert "which is worse" in recommendation(choice(0.76, 0.7, (0.01, 0.1)))
    assert "no loss was measured." in recommendation(choice(0.81, 0.7, (0.01, 0.1)))


def test_the_table_names_what_is_as_good():
    lines = codec_text([choice(0.76, 0.7, (-0.01, 0.1))], [row("int8", 16, 0.76)]).splitlines()
    assert "as good, by the data" in lines[-2]
    assert lines[-1].split() == [
        "16",
        "int8",
        "0.7600",
        "0.6600",
        "-",
        "0.8600",
        "0.950",
        "0.900",
        "-",
        "0.980",
        "pca:8+int8",
    ]
