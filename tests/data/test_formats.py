"""Rows as other trainers have them: FlagEmbedding, tevatron, ms-swift, judged pairs; and advice by meaning."""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.data.pairs import read_pairs
from tempembed.system.errors import UserError


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def read(put):
    """(pairs of the rows, what was said)."""

    def read(*rows, name="x.jsonl", **how):
        said = []
        content = (
            rows[0] if isinstance(rows[0], str) else jsonl(*rows) if name.endswith("jsonl") else list(rows)
        )
        return read_pairs(put(name, content), say=said.append, **how), "\n".join(said)

    return read


def triples(pairs):
    return list(zip(pairs.queries, pairs.documents, pairs.hard_negatives or [[]] * len(pairs), strict=True))


def user(text, system=None):
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]


FLAG = {"query": "q", "pos": ["d1", "d2"], "neg": ["n1", "n2"]}
WANTED = [("q", "d1", ["n1", "n2"]), ("q", "d2", ["n1", "n2"])]
FORMATS = {
    "FlagEmbedding": FLAG,
    "FlagEmbedding with all": {
        **FLAG, "pos_scores": [1.0, 0.5], "neg_scores": [0.1, 0.2], "prompt": "Represent: ", "type": "normal", "id": "7",
        "pos_id": ["1", "2"],
    },
    "tevatron": {
        "query_id": "1", "query": "q",
        "positive_passages": [{"docid": "1", "title": "", "text": "d1"}, {"docid": "2", "text": "d2"}],
        "negative_passages": [{"docid": "3", "title": "", "text": "n1"}, {"docid": "4", "title": None, "text": "n2"}],
    },
    "tevatron's text pairs": {"query": "q", "positives": ["d1", "d2"], "negatives": ["n1", "n2"]},
    "ms-swift": {
        "messages": user("q"), "positive_messages": [user("d1"), user("d2")], "negative_messages": [user("n1"), user("n2")],
    },
    "DPR": {
        "dataset": "nq", "question": "q", "answers": ["a"], "positive_ctxs": [{"title": "", "text": "d1"}, {"title": "", "text": "d2"}],
        "negative_ctxs": [{"title": "", "text": "other"}], "hard_negative_ctxs": [{"title": "", "text": t} for t in ("n1", "n2")],
    },
    "lists in positive and negative": {"anchor": "q", "positive": ["d1", "d2"], "negative": ["n1", "n2"]},
    "objects": {"query": {"text": "q"}, "positive": [{"text": "d1"}, {"text": "d2"}], "hard_negatives": [{"text": "n1"}, "n2"]},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_of_several_right_documents_is_several_pairs(read, form):
    pairs, _ = read(FORMATS[form])
    assert triples(pairs) == WANTED
    assert pairs.labels is None


@pytest.mark.parametrize(
    "form", [form for form in FORMATS if form != "objects"]
)  # "n2" beside an object: JSON alone
def test_formats_in_parquet(put, form):
    path = put("x.parquet", pa.Table.from_pylist([FORMATS[form]]))
    assert triples(read_pairs(path)) == WANTED


@pytest.mark.parametrize("form", ["FlagEmbedding", "tevatron", "tevatron's text pairs", "ms-swift", "DPR"])
def test_formats_in_csv_have_their_lists_as_json(read, form):
    row = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in FORMATS[form].items()
    }
    for name in ("x.csv", "x.tsv"):
        assert triples(read(row, name=name)[0]) == WANTED


def test_a_format_saved_by_datasets(tmp_path):
    datasets.disable_progress_bars()
    datasets.Dataset.from_list([FORMATS["tevatron"]]).save_to_disk(tmp_path / "a")
    assert triples(read_pairs(str(tmp_path / "a"))) == WANTED


def test_all_formats_have_one_fingerprint(read):
    scores = {"pos_scores", "neg_scores"}  # which are read as a teacher's
    rows = [{name: value for name, value in row.items() if name not in scores} for row in FORMATS.values()]
    assert len({read(row)[0].fingerprint for row in rows}) == 1


def test_titles_stand_before_texts_as_in_mteb(read):
    passage = {"docid": "1", "title": "Sums", "text": " How to add. "}
    pairs, _ = read({"query": "q", "positive_passages": [passage], "negative_passages": [{"title": "T", "text": ""}]},
                    {"query": "r", "positive_passages": [{"title": "", "text": " x "}], "negative_passages": []})  # fmt: skip
    assert triples(pairs) == [("q", "Sums  How to add.", ["T"]), ("r", "x", [])]
    from mteb._create_dataloaders import _corpus_to_dict

    assert _corpus_to_dict({"id": "1", **passage})["text"] == "Sums  How to add."


def test_documents_may_be_objects(read):
    row = {"query": "q", "document": {"text": "body", "title": "head"}, "negative": {"text": "wrong"}}
    assert triples(read(row)[0]) == [("q", "head body", ["wrong"])]
    assert triples(read(row, name="x.parquet")[0]) == [("q", "head body", ["wrong"])]


def test_a_list_of_negatives(read):
    for name in ("x.jsonl", "x.parquet", "x.csv", "x.tsv"):
        pairs, _ = read({"query": "q", "document": "d", "negatives": ["n", "m"]},
                        {"query": "r", "document": "e", "negatives": []}, name=name)  # fmt: skip
        assert triples(pairs) == [("q", "d", ["n", "m"]), ("r", "e", [])]


def test_some_rows_have_no_negatives(read):
    pairs, _ = read(
        {"query": "q", "pos": ["d"], "neg": []},
        {"query": "r", "pos": ["e"]},
        {"query": "s", "pos": ["f"], "neg": None},
    )
    assert triples(pairs) == [("q", "d", []), ("r", "e", []), ("s", "f", [])]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"query": "q", "pos": [], "neg": ["n"]},
            "column 'pos': expected at least one document, got an empty list",
        ),
        (
            {"query": "q", "pos": ["d", ""], "neg": []},
            r"column 'pos': expected text as item 2 of the list, got '' \(empty\)",
        ),
        ({"query": "q", "pos": ["d"], "neg": "n"}, "column 'neg': expected a list of texts"),
        (
            {"query": "q", "pos": ["d"], "neg": [None]},
            r"column 'neg': expected text as item 1 of the list, got nothing \(null\)",
        ),
        (
            {"query": "q", "positive_passages": [{"docid": "1"}]},
            "column 'positive_passages': expected text as item 1",
        ),
        (
            {"query": "q", "positive_passages": [{"title": "", "text": " "}]},
            r"column 'positive_passages': expected text as item 1 of the list, got '' \(empty\)",
        ),
        ({"query": "", "pos": ["d"]}, r"column 'query': expected text, got '' \(empty\)"),
        (
            {"messages": "q", "positive_messages": [user("d")]},
            "column 'messages': expected one message of each role",
        ),
        (
            {"messages": user("q"), "positive_messages": [[{"role": "user"}]]},
            "column 'positive_messages': expected one message",
        ),
        (
            {"messages": user("q") * 2, "positive_messages": [user("d")]},
            "column 'messages': expected one message of each role",
        ),
    ],
)
def test_bad_rows_of_formats(read, row, message):
    good = {"query": "good", "pos": ["d"]}
    with pytest.raises(UserError, match=rf"row 2 \(line 2\), {message}"):
        read(good, row)
    pairs, _ = read(good, row, skip_bad_rows=True)
    assert (pairs.queries, pairs.num_skipped) == (["good"], 1)


def test_two_formats_at_once_are_refused(read):
    with pytest.raises(UserError, match="both 'pos' and 'positives': remove or rename one"):
        read({"query": "q", "pos": ["d"], "positives": ["d"]})
    with pytest.raises(UserError, match="both 'document' and 'pos': remove or rename one"):
        read({"query": "q", "pos": ["d"], "document": "d"})


def test_a_negative_that_is_a_right_answer_is_left_out(read):
    pairs, said = read(
        {"query": "q", "pos": ["d1", "d2"], "neg": ["d2", "n"]}, {"query": "r", "pos": ["e"], "neg": ["e"]}
    )
    assert triples(pairs) == [("q", "d1", ["n"]), ("q", "d2", ["n"]), ("r", "e", [])]
    assert "left out 2 hard negatives that are right answers of their own row" in said
    assert pairs.num_skipped == 0


def test_repeated_documents_of_a_row_are_duplicates(read):
    pairs, _ = read({"query": "q", "pos": ["d", "d", "e"]})
    assert (pairs.documents, pairs.skip_reasons) == (["d", "e"], {"duplicate pair": 1})


# ms-swift


def test_messages_of_ms_swift(read):
    """A system message stands before the user's; docs/source_en/BestPractices/Embedding.md of ms-swift."""
    pairs, _ = read(
        {
            "messages": user("Anchor"),
            "positive_messages": [user("Positive", "Instruction")],
            "negative_messages": [user("Negative")],
        }
    )
    assert triples(pairs) == [("Anchor", "Instruction Positive", ["Negative"])]


def test_older_rows_of_ms_swift(read):
    assert triples(read({"query": "q", "response": "d", "rejected_response": ["n", "m"]})[0]) == [
        ("q", "d", ["n", "m"])
    ]
    assert triples(read({"query": "q", "response": "d", "rejected_response": "n"})[0]) == [("q", "d", ["n"])]
    row = {"messages": [*user("q"), {"role": "assistant", "content": "d"}], "rejected_response": ["n"]}
    assert triples(read(row)[0]) == [("q", "d", ["n"])]


def test_labels_of_ms_swift_are_judgments(read):
    rows = [{"messages": user(q), "positive_messages": [user(d)], "label": label} for q, d, label in
            (("a", "b", 1), ("a", "c", 0), ("x", "y", 1))]  # fmt: skip
    assert triples(read(*rows)[0]) == [("a", "b", ["c"]), ("x", "y", [])]
    with pytest.raises(
        UserError, match=r"got scores from 0 to 1: say from which score on a row is a pair, with --min-score"
    ):
        read(*rows, {"messages": user("a"), "positive_messages": [user("e")], "label": 0.8})


# Judged pairs

JUDGED = [
    {"sentence1": "a", "sentence2": "a1", "label": 1},
    {"sentence1": "a", "sentence2": "a2", "label": 0},
    {"sentence1": "b", "sentence2": "b1", "label": 0},
    {"sentence1": "c", "sentence2": "c1", "label": 1},
    {"sentence1": "a", "sentence2": "a3", "label": 1},
    {"sentence1": "a", "sentence2": "a1", "label": 0},
]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.tsv", "x.parquet"])
def test_only_label_1_is_a_pair_and_label_0_a_negative(read, name):
    pairs, said = read(*JUDGED, name=name)
    assert triples(pairs) == [("a", "a1", ["a2"]), ("c", "c1", []), ("a", "a3", ["a2"])]
    assert pairs.labels is None
    assert "3 rows with label 1 are pairs; of 3 with label 0, 1 are hard negatives of the same query" in said
    assert pairs.skip_reasons == {"wrong answer of a query that has no right one": 1}
    assert "left out 1 hard negatives that are right answers" in said


@pytest.mark.parametrize("label", ["label", "labels", "score", "is_duplicate", "similarity"])
def test_spellings_of_judgments(read, label):
    rows = [{"sentence1": r["sentence1"], "sentence2": r["sentence2"], label: r["label"]} for r in JUDGED]
    assert read(*rows)[0].documents == ["a1", "c1", "a3"]


def test_questions_are_judged_too(read):
    rows = [
        {"question1": "a", "question2": "b", "is_duplicate": 1},
        {"question1": "a", "question2": "c", "is_duplicate": 0},
    ]
    assert triples(read(*rows)[0]) == [("a", "b", ["c"])]


def test_two_sentences_without_a_judgment_are_a_pair(read):
    assert triples(read({"sentence1": "a", "sentence2": "b"})[0]) == [("a", "b", [])]


@pytest.mark.parametrize(
    "scores", [[0, 2.5, 5], [0.1, 0.5, 1.0], [0, 1, 2], [-1, 0, 1], ["0.0", "3.2", "5.000"]]
)
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_scores_are_asked_for_a_threshold(read, scores, name):
    rows = [{"sentence1": f"a{i}", "sentence2": f"b{i}", "score": score} for i, score in enumerate(scores)]
    with pytest.raises(
        UserError,
        match=r"got scores from .* to .*: say from which score on a row is a pair, with --min-score",
    ):
        read(*rows, name=name)
    threshold = float(scores[1])
    pairs, said = read(*rows, name=name, min_score=threshold)
    assert triples(pairs) == [
        ("a1", "b1", []),
        ("a2", "b2", []),
    ]  # at or above is a pair, below is no negative
    assert pairs.skip_reasons == {f"score below {threshold:g}": 1}
    assert f"2 rows with a score of at least {threshold:g} are pairs, 1 are left out" in said


@pytest.mark.parametrize("value", ["good", "", None, "nan", [1]])
def test_a_score_that_is_none(read, value):
    rows = [*JUDGED, {"sentence1": "x", "sentence2": "y", "label": value}]
    with pytest.raises(UserError, match=r"row 7 \(line 7\), column 'label': expected a number"):
        read(*rows)
    assert read(*rows, skip_bad_rows=True)[0].documents == ["a1", "c1", "a3"]


def test_no_row_is_a_pair(read):
    with pytest.raises(
        UserError, match=r"expected at least one good pair, but every row is bad \(1 x wrong answer of"
    ):
        read({"sentence1": "a", "sentence2": "b", "label": 0})


def test_a_score_beside_query_and_document_is_read_if_asked(read):
    rows = [{"query": f"q{i}", "document": f"d{i}", "score": i / 4} for i in range(5)]
    pairs, said = read(*rows)
    assert len(pairs) == 5
    assert "columns that are not read: 'score'" in said
    assert read(*rows, min_score=0.5)[0].queries == ["q2", "q3", "q4"]


def test_a_threshold_without_scores_is_said(read):
    assert (
        "--min-score changes nothing: no column of scores is read"
        in read({"query": "q", "document": "d"}, min_score=1)[1]
    )


def test_files_of_a_folder_are_judged_together(put, tmp_path):
    put("a.jsonl", jsonl(*JUDGED[1:2]))
    put("b.jsonl", jsonl(*JUDGED[:1]))
    put("c.jsonl", jsonl({"query": "q", "document": "d"}))
    assert triples(read_pairs(str(tmp_path))) == [("a", "a1", ["a2"]), ("q", "d", [])]


def test_a_label_of_query_and_document_stays_a_label(read):
    rows = [{"query": f"q{i}", "document": f"d{i}", "label": i % 2} for i in range(4)]
    pairs, said = read(*rows)
    assert pairs.labels == ["0", "1", "0", "1"]
    assert (
        "labels 0 and 1 are taken for classes of documents: where 0 means a wrong document, call the" in said
    )


# Advice


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ({"query_id": "1", "query": "q"}, "rename the columns"),
        ({"prompt": "p", "query": "q"}, "rename the columns"),
        ({"instruction": "p", "query": "q"}, "rename the columns"),
        ({"query": "q", "score": "0.5"}, "rename the columns"),
        ({"query": "q", "year_text": "2021"}, "rename the columns"),
        ({"docid": "1", "document": "d"}, "rename the columns"),
        ({"id": "1", "query": "q", "answer": "d"}, "rename 'answer' to 'document'"),
        ({"query": "q", "query_id": "1", "passage": "d", "prompt": "p"}, "rename 'passage' to 'document'"),
        ({"answer": "d", "question": "q"}, "rename 'question' to 'query' and 'answer' to 'document'"),
        (
            {"id": "7", "answer": "d", "question": "q", "url": "u"},
            "rename 'question' to 'query' and 'answer' to 'document'",
        ),
        (
            {"input_query": "q", "output": "d", "n": 3},
            "rename 'input_query' to 'query' and 'output' to 'document'",
        ),
        ({"_id": "1", "text": "t"}, "rename the columns"),
        ({"label": "x", "text": "t"}, "rename the columns"),
        ({"premise": "a", "hypothesis": "b", "label": "neutral"}, "rename the columns"),
        ({"one": "a", "two": "b"}, "rename 'one' to 'query' and 'two' to 'document'"),
    ],
)
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet"])
def test_advice_is_by_meaning(read, row, advice, name):
    with pytest.raises(UserError) as error:
        read(row, name=name)
    message = str(error.value).removesuffix(", or pass --skip-bad-rows to leave such rows out")
    assert message.endswith(f": {advice}")


def test_columns_that_are_not_read_are_named_once(read, put, tmp_path):
    _, said = read({**FORMATS["FlagEmbedding with all"]})
    assert said.endswith("columns that are not read: 'prompt', 'type', 'id', 'pos_id'")
    put("x.csv", "query,document,url\nq,d,u\n")
    put("x.jsonl", jsonl({"query": "p", "document": "d", "id": 1}, {"query": "r", "document": "d", "url": 1}))
    pq.write_table(pa.table({"query": ["s"], "document": ["d"], "meta": [1]}), tmp_path / "y.parquet")
    said = []
    read_pairs(str(tmp_path), say=said.append)
    assert said == [f"{tmp_path}: columns that are not read: 'url', 'id', 'meta'"]


def test_nothing_is_said_of_plain_pairs(read):
    assert read({"query": "q", "document": "d", "hard_negatives": ["n"], "label": "x"})[1] == ""
