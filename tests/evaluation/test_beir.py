"""Folders of BEIR and TREC as they are in the wild."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempembed.encoders.static import NO_PROMPTS
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.folder import read_folder
from tempembed.evaluation.folder_task import FolderTask
from tempembed.evaluation.mteb_local import folder_task
from tempembed.evaluation.mteb_results import mteb_scores
from tempembed.evaluation.mteb_tasks import to_ours
from tempembed.evaluation.store import EmbeddingStore
from tempembed.system.errors import UserError
from tests.evaluation.test_mteb import Counting


class Encoder(Counting):
    """That of mteb's tests, which also takes an empty text."""

    prompts = NO_PROMPTS

    def introduction(self):
        return ()

    def embed(self, texts, *rest, **more):
        return super().embed([text or "empty" for text in texts], *rest, **more)


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


CORPUS = lines({"_id": "a", "text": "x"}, {"_id": "b", "text": "y"}, {"_id": "c", "text": "z"})
QUERIES = lines({"_id": "q", "text": "one"}, {"_id": "r", "text": "two"})
QRELS = "query-id\tcorpus-id\tscore\nq\ta\t1\nr\tb\t2\n"
GOOD = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels.tsv": QRELS}
RELEVANT = {"q": {"a": 1}, "r": {"b": 2}}


@pytest.fixture
def read(tmp_path):
    """(the task of files, what was said)."""

    def read(files, **how):
        for name, content in files.items():
            path = tmp_path / "task" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        said = []
        (task,) = read_folder(tmp_path / "task", say=said.append, **how)
        return task, "\n".join(said)

    return read


def with_qrels(name, content):
    return {name: value for name, value in GOOD.items() if name != "qrels.tsv"} | {name: content}


# Identities and labels

IDS = [("1", "01"), ("2021-03-04", "2021-03-05"), ("1e5", "100000"), ("true", "false"), ("12345678901234567890", "1"), ("NaN", "null"), ("1.0", "1"), ("007", "7")]  # fmt: skip


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("comma", [",", "\t"])
def test_ids_of_tables_are_text(read, ids, comma):
    """1 and 01 were one document; dates, 1e5 and 20 digits were refused."""
    one, two = ids
    suffix = {",": "csv", "\t": "tsv"}[comma]
    corpus = f"_id{comma}text\n{one}{comma}x\n{two}{comma}y\n"
    qrels = f"query-id{comma}corpus-id{comma}score\n{two}{comma}{one}{comma}1\n"
    task, _ = read({f"corpus.{suffix}": corpus, f"queries.{suffix}": corpus, f"qrels.{suffix}": qrels})
    assert task.columns["corpus"] == {"id": [one, two], "text": ["x", "y"]}
    assert task.relevant == {two: {one: 1}}


@pytest.mark.parametrize("text", ["123", "1.50", "2021-03-04", "true", "1e5"])
def test_a_column_of_numeric_texts(read, text):
    task, _ = read(
        {
            "corpus.csv": f"_id,text\na,{text}\nb,{text}0\n",
            "queries.csv": f"_id,text\nq,{text}\nr,7\n",
            "qrels.tsv": QRELS,
        }
    )
    assert task.columns["corpus"]["text"] == [text, f"{text}0"]
    assert task.columns["queries"]["text"] == [text, "7"]


@pytest.mark.parametrize(
    "labels", [("1.1", "1.10"), ("01067", "1067"), ("1", "01"), ("true", "True"), ("1e5", "100000")]
)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_labels_of_tables_are_text(read, labels, suffix):
    comma = {"csv": ",", "tsv": "\t"}[suffix]
    rows = "".join(f"text {i}{comma}{labels[i % 2]}\n" for i in range(6))
    task, _ = read(
        {f"train.{suffix}": f"text{comma}label\n{rows}", f"test.{suffix}": f"text{comma}label\n{rows}"}
    )
    assert task.columns["test"]["label"] == list(labels) * 3
    assert len(set(task.columns["train"]["label"])) == 2


def test_clusters_of_tables_are_text(read):
    task, _ = read({"test.csv": "sentences,labels\na,1.1\nb,1.10\nc,01\n"})
    assert task.columns["test"]["labels"] == ["1.1", "1.10", "01"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (1.5, "1.5"), (1.0, "1"), (True, "true"), ("01", "01"), (10**19, str(10**19))],
)
def test_ids_and_labels_of_json_are_text_by_one_rule(read, value, text):
    files = {
        "corpus.jsonl": lines({"_id": value, "text": "x"}),
        "queries.jsonl": QUERIES,
        "qrels.csv": f"query-id,corpus-id,score\nq,{text},1\n",
    }
    task, _ = read(files)
    assert task.relevant == {"q": {text: 1}}


def test_labels_of_json_are_text_by_the_same_rule(read):
    rows = lines(*({"text": f"t{i}", "label": value} for i, value in enumerate([1, 1.5, True, "01"])))
    assert read({"train.jsonl": rows, "test.jsonl": rows})[0].columns["test"]["label"] == [
        "1",
        "1.5",
        "true",
        "01",
    ]


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (pa.array([1, 2]), ["1", "2"]),
        (pa.array([1.0, 2.0]), ["1", "2"]),  # as pandas has whole numbers beside a gap
        (pa.array([18690, 18691], pa.date32()), ["2021-03-04", "2021-03-05"]),
        (pa.array(["1", "01"]).dictionary_encode(), ["1", "01"]),
    ],
)
def test_ids_of_parquet_are_text(read, ids, names):
    sink = io.BytesIO()
    pq.write_table(pa.table({"_id": ids, "text": ["x", "y"]}), sink)
    qrels = f"query-id\tcorpus-id\tscore\nq\t{names[1]}\t1\n"
    task, _ = read({"corpus.parquet": sink.getvalue(), "queries.jsonl": QUERIES, "qrels.tsv": qrels})
    assert (task.columns["corpus"]["id"], task.relevant) == (names, {"q": {names[1]: 1}})


def test_numbers_are_parsed_where_a_number_is_meant(read):
    rows = "sentence1\tsentence2\tscore\n1\t01\t4.50\n2\t02\t1e-1\n"
    task, _ = read({"test.tsv": rows})
    assert task.columns["test"] == {"sentence1": ["1", "2"], "sentence2": ["01", "02"], "score": [4.5, 0.1]}


@pytest.mark.parametrize("name", ["labels", "label"])
def test_binary_labels_of_tables(read, name):
    task, _ = read({"test.csv": f"sentence1,sentence2,{name}\na,b,1\nc,d,0\ne,f,1.0\n"})
    assert (task.kind, task.columns["test"]["labels"]) == ("pair_classification", [1, 0, 1])


@pytest.mark.parametrize("cell", ["good", "nan", "inf", "1,5", "", "2e20"])
def test_a_number_that_is_none_is_said(read, cell):
    with pytest.raises(UserError, match="line 2: row 1, column score: expected a number"):
        read({"test.tsv": f"sentence1\tsentence2\tscore\na\tb\t{cell}\n"})


@pytest.mark.parametrize(
    "texts", [['"open', "two", 'close"'], ["it's", '5" disk', '"Hello" she'], ["a", '"b"', "c"]]
)
def test_quotes_in_tsv_take_no_lines(read, texts):
    corpus = "_id\ttext\n" + "".join(f"{i}\t{text}\n" for i, text in zip("abc", texts, strict=True))
    assert (
        read({"corpus.tsv": corpus, "queries.jsonl": QUERIES, "qrels.tsv": QRELS})[0].columns["corpus"][
            "text"
        ]
        == texts
    )


def test_tsv_that_csv_wrote(read):
    texts = ['say "hi"', "two\nlines", "a\ttab"]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t").writerows([["_id", "text"], *zip("abc", texts, strict=True)])
    assert (
        read({"corpus.tsv": file.getvalue(), "queries.jsonl": QUERIES, "qrels.tsv": QRELS})[0].columns[
            "corpus"
        ]["text"]
        == texts
    )


# Judgments


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.txt", "q 0 a 1\nr 0 b 2\n"),
        ("qrels.txt", "q\t0\ta\t1\n\nr\t0\tb\t2"),
        ("qrels.tsv", "q\t0\ta\t1\nr\t0\tb\t2\n"),
        ("qrels.tsv", "q 0 a 1\nr 0 b 2\n"),
        ("qrels.trec", "q Q0  a   1\nr Q0 b 2\n"),
        ("test.qrels", "q 0 a 1\r\nr 0 b 2\r\n"),
        ("qrels.test.tsv", QRELS),
        ("qrels-test.txt", "q 0 a 1\nr 0 b 2\n"),
        ("qrels/test.trec", "q 0 a 1\nr 0 b 2\n"),
        ("qrels/test.tsv", QRELS),
        ("qrels.tsv", "q\ta\t1\nr\tb\t2\n"),
        ("qrels.csv", "q,a,1\nr,b,2\n"),
        ("qrels.csv", "q,0,a,1\nr,0,b,2\n"),
        ("qrels.txt", "q a 1\nr b 2\n"),
        ("qrels.txt", "query-id corpus-id score\nq a 1\nr b 2\n"),
        ("qrels.tsv", "query_id\tdoc_id\trelevance\nq\ta\t1\nr\tb\t2\n"),
        ("qrels.tsv", "qid\tpid\tlabel\nq\ta\t1\nr\tb\t2\n"),
        ("qrels.tsv", "query_id\titeration\tdocid\trel\nq\t0\ta\t1\nr\t0\tb\t2\n"),
        ("qrels.csv", "score,corpus-id,query-id\n1,a,q\n2,b,r\n"),
        ("qrels.csv", '"query-id","corpus-id","score"\n"q","a","1"\n"r","b","2"\n'),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1.0\nr\tb\t2\n"),
        (
            "qrels.jsonl",
            lines(
                {"query-id": "q", "corpus-id": "a", "score": 1},
                {"query-id": "r", "corpus-id": "b", "score": "2"},
            ),
        ),
        (
            "qrels.jsonl",
            lines(
                {"query_id": "q", "doc_id": "a", "relevance": 1},
                {"query_id": "r", "doc_id": "b", "relevance": 2},
            ),
        ),
        ("qrels.tsv.gz", gzip.compress(QRELS.encode(), mtime=0)),
        ("qrels.txt.gz", gzip.compress(b"q 0 a 1\nr 0 b 2\n", mtime=0)),
        ("qrels.tsv", "\ufeff" + QRELS),
    ],
)
def test_every_form_of_judgments(read, name, content):
    assert read(with_qrels(name, content))[0].relevant == RELEVANT


def test_numeric_ids_of_trec(read):
    task, _ = read(
        {
            "corpus.tsv": "_id\ttext\n7\tx\n07\ty\n",
            "queries.tsv": "_id\ttext\n1\tx\n",
            "qrels.txt": "1 0 07 1\n1 0 7 0\n",
        }
    )
    assert task.relevant == {"1": {"07": 1, "7": 0}}


def test_of_several_judgments_the_test_is_taken(read):
    files = with_qrels("qrels/test.tsv", QRELS) | {
        f"qrels/{name}.tsv": "query-id\tcorpus-id\tscore\nq\tc\t1\n" for name in ("train", "dev")
    }
    assert read(files)[0].relevant == RELEVANT


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "qrels.txt",
            "q 0 a good\n",
            "qrels.txt, line 1: row 1, column score: expected a whole number, got 'good'",
        ),
        (
            "qrels.txt",
            "q 0 a 1\nr b\n",
            "qrels.txt, line 2: expected query, document and grade, or TREC's .*, got 2 cells",
        ),
        ("qrels.txt", "", "qrels.txt: expected rows, got none"),
        ("qrels.tsv", "a\tb\n", "qrels.tsv: expected the columns .*'query-id'.* are missing"),
        ("qrels.tsv", "query-id\tcorpus-id\tgrading\nq\ta\t1\n", r"\['score'\] are missing"),
        ("qrels.txt", "query-id other score\nq a 1\n", r"\['corpus-id'\] are missing"),
        ("qrels.txt", b"q 0 \xe4 1\n", r"column corpus-id: expected UTF-8, got byte 0xe4"),
    ],
)
def test_judgments_that_are_none(read, name, content, message):
    with pytest.raises(UserError, match=message):
        read(with_qrels(name, content))


TWICE = QRELS + "q\ta\t0\nr\tb\t2\n"


@pytest.mark.parametrize("name", ["qrels.tsv", "qrels.txt"])
def test_a_pair_that_is_judged_twice(read, name):
    """The last grade won, in silence."""
    content = TWICE if name == "qrels.tsv" else "q 0 a 1\nr 0 b 2\nq 0 a 0\nr 0 b 2\n"
    first, again = (2, 4) if name == "qrels.tsv" else (1, 3)
    message = (
        rf"{name}, line {again}: row 3, column score: expected one grade for query 'q' and document 'a', got 0 here and 1 in "
        rf"row 1 \(line {first}\): keep one of the two rows, or pass --skip-bad-rows"
    )
    with pytest.raises(UserError, match=message):
        read(with_qrels(name, content))
    task, said = read(with_qrels(name, content), skip_bad_rows=True)
    assert task.relevant == RELEVANT
    assert "left out 1 bad rows: 1 x pair with two grades" in said
    assert "1 rows judge a pair again, with the same grade: counted once" in said


def test_the_same_grade_twice_is_no_fault(read):
    assert read(with_qrels("qrels.tsv", QRELS + "q\ta\t1\n"))[0].relevant == RELEVANT


# BEIR in the wild


def test_judgments_of_what_is_not_there_are_left_out_and_said(read):
    task, said = read(with_qrels("qrels.tsv", QRELS + "q\tgone\t1\nmissing\ta\t1\nmissing2\ta\t1\n"))
    assert task.relevant == RELEVANT
    assert "left out the judgments of 2 ids that are not in queries: 'missing', 'missing2'" in said
    assert "left out the judgments of 1 ids that are not in corpus: 'gone'" in said


def test_a_query_whose_answers_are_all_missing_is_left_out(read):
    task, _ = read(with_qrels("qrels.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1\nr\tgone\t1\n"))
    assert task.relevant == {"q": {"a": 1}}


def test_a_query_without_a_right_answer_is_left_out(read):
    task, said = read(with_qrels("qrels.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1\nr\tb\t0\n"))
    assert task.relevant == {"q": {"a": 1}}
    assert "left out 1 queries that have no right answer" in said


def test_empty_documents_are_kept_and_empty_queries_are_not(read):
    corpus = lines(
        {"_id": "a", "title": "Head", "text": "", "metadata": {"url": "u", "pubmed_id": 7}},
        {"_id": "b", "title": "", "text": ""},
        {"_id": "c", "title": None, "text": None},
        {"_id": "d", "text": "body"},
    )
    queries = lines(
        {"_id": "q", "text": "one", "metadata": {}}, {"_id": "r", "text": " "}, {"_id": "s", "text": "three"}
    )
    qrels = "query-id\tcorpus-id\tscore\nq\ta\t1\nr\tb\t1\ns\tb\t1\n"
    task, said = read({"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels.tsv": qrels})
    assert task.columns["corpus"] == {
        "id": list("abcd"),
        "text": ["", "", "", "body"],
        "title": ["Head", "", "", ""],
    }
    assert task.columns["queries"] == {"id": ["q", "s"], "text": ["one", "three"]}
    assert task.relevant == {"q": {"a": 1}, "s": {"b": 1}}
    assert "left out 1 queries without text" in said
    assert to_ours(folder_task(task), NO_PROMPTS)[0].documents == ["Head", "", "", "body"]


def test_a_document_that_is_there_twice_counts_once(read):
    task, said = read(GOOD | {"corpus.jsonl": CORPUS + "\n" + lines({"_id": "a", "text": "x"})})
    assert task.columns["corpus"]["id"] == ["a", "b", "c"]
    assert "1 rows have the id of an earlier one: left out" in said
    twice = GOOD | {"corpus.jsonl": CORPUS + "\n" + lines({"_id": "a", "text": "other"})}
    with pytest.raises(
        UserError,
        match=r"line 4: row 4, column id: expected unique ids, got 'a' here and with another text in row 1",
    ):
        read(twice)
    assert read(twice, skip_bad_rows=True)[0].columns["corpus"]["text"] == ["x", "y", "z"]


def test_bad_rows_of_every_table_are_counted(read):
    files = {
        "corpus.jsonl": CORPUS + '\n{"_id": "d", "text": 5}\nno json\n',
        "queries.tsv": "_id\ttext\nq\tone\nr\ttwo\nbroken\n",
        "qrels.tsv": QRELS + "q\tb\tgood\n\tb\t1\n",
    }
    with pytest.raises(UserError, match="pass --skip-bad-rows to leave such rows out"):
        read(files)
    task, said = read(files, skip_bad_rows=True)
    assert (task.columns["corpus"]["id"], task.columns["queries"]["id"], task.relevant) == (
        list("abc"),
        ["q", "r"],
        RELEVANT,
    )
    assert "left out 5 bad rows: " in said
    for reason in ("1 x no text in text", "1 x line that is not JSON", "1 x wrong number of cells"):
        assert reason in said


def test_bad_sets_are_counted(read):
    rows = lines(
        {"sentences": ["a", "b"], "labels": [1, 2]},
        {"sentences": ["a", "b"], "labels": [1]},
        {"sentences": [], "labels": []},
    )
    with pytest.raises(UserError, match="row 2, column labels: expected as many labels as sentences"):
        read({"test.jsonl": rows})
    task, said = read({"test.jsonl": rows}, skip_bad_rows=True)
    assert task.columns["test"] == {"sentences": [["a", "b"]], "labels": [["1", "2"]]}
    assert "left out 2 bad rows: 2 x other number of labels than of sentences" in said


def test_bad_rows_of_other_tasks_are_counted(read):
    rows = lines(
        {"sentence1": "a", "sentence2": "b", "score": 1},
        {"sentence1": "a", "sentence2": "", "score": 2},
        {"sentence1": "a"},
    )
    with pytest.raises(UserError, match="row 2, column sentence2: expected text"):
        read({"test.jsonl": rows})
    assert read({"test.jsonl": rows}, skip_bad_rows=True)[0].columns["test"]["score"] == [1]
    with pytest.raises(
        UserError, match=r"expected rows, got none that is good\. The first: .*row 1, column sentence1"
    ):
        read({"test.jsonl": lines({"sentence1": "", "sentence2": "b", "score": 1})}, skip_bad_rows=True)


@pytest.mark.parametrize("ids", [("id", "id"), ("docid", "query_id"), ("doc_id", "qid"), ("_id", "_id")])
@pytest.mark.parametrize("texts", [("text", "text"), ("contents", "query"), ("passage", "question")])
def test_spellings_of_corpus_and_queries(read, ids, texts):
    task, _ = read({
        "corpus.jsonl": lines({ids[0]: "a", texts[0]: "x"}, {ids[0]: "b", texts[0]: "y"}),
        "queries.jsonl": lines({ids[1]: "q", texts[1]: "one"}, {ids[1]: "r", texts[1]: "two"}), "qrels.tsv": QRELS,
    })  # fmt: skip
    assert (task.columns["corpus"]["text"], task.relevant) == (["x", "y"], RELEVANT)


def test_our_score_of_a_wild_folder_is_mtebs(read, tmp_path):
    """The same folder, its missing documents and empty query taken out by hand, as mteb's own task."""
    topics = [f"topic{i % 6}" for i in range(60)]
    corpus = [{"_id": f"{i:02d}", "title": f"{t} title" if i % 3 else "", "text": "" if i % 5 == 0 else f" {t} body {i} "}
              for i, t in enumerate(topics)]  # fmt: skip
    queries = [{"_id": str(i), "text": f"ask {i} {topics[i]}"} for i in range(20)]
    judged = [
        (str(i), f"{j:02d}", 1 + (i + j) % 2)
        for i in range(20)
        for j in range(60)
        if topics[i] == topics[j] and j % 4
    ]
    wild = [*judged, ("3", "gone", 1), ("unknown", "01", 1), ("empty", "02", 1), ("19", "03", 0)]
    task, _ = read({
        "corpus.jsonl": lines(*corpus), "queries.jsonl": lines(*queries, {"_id": "empty", "text": ""}),
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in wild),
    })  # fmt: skip
    relevant = {}
    for query, document, gain in [*judged, ("19", "03", 0)]:
        relevant.setdefault(query, {})[document] = gain
    columns = {
        "corpus": {
            "id": [r["_id"] for r in corpus],
            "title": [r["title"] for r in corpus],
            "text": [r["text"] for r in corpus],
        },
        "queries": {"id": [r["_id"] for r in queries], "text": [r["text"] for r in queries]},
    }
    by_hand = folder_task(FolderTask("wild", "retrieval", columns, relevant))
    store = EmbeddingStore(tmp_path / "cache", Encoder())
    theirs = mteb_scores([by_hand], store, name="a", prompts=NO_PROMPTS, output=tmp_path / "mteb")["wild"]
    ours = evaluate(
        to_ours(folder_task(task), NO_PROMPTS), store.embed, model="m", specs=lambda full: []
    ).report.scores[0]
    assert ours.score == pytest.approx(theirs, abs=1e-4)
    assert 0.05 < theirs < 0.999


@pytest.mark.parametrize("labels", [("no", "yes"), ("0", "1"), (0, 1)])
def test_two_labels_are_measured_by_mteb_too(read, tmp_path, labels):
    """mteb's average precision of two classes takes no text."""
    rows = [{"text": f"line {i} topic{i % 2}", "label": labels[i % 2]} for i in range(60)]
    task, _ = read({"train.jsonl": lines(*rows[:40]), "test.jsonl": lines(*rows[40:])})
    store = EmbeddingStore(tmp_path / "cache", Encoder())
    theirs = mteb_scores([folder_task(task)], store, name="a", prompts=NO_PROMPTS, output=tmp_path / "mteb")[
        "task"
    ]
    ours = evaluate(
        to_ours(folder_task(task), NO_PROMPTS), store.embed, model="m", specs=lambda full: [], raw=True
    ).report.scores[0]
    assert ours.raw_score == pytest.approx(theirs, abs=1e-4)


def test_the_command_hands_the_flag_on(tmp_path, monkeypatch):
    from tempembed.commands.measure import Measure, subject

    place = tmp_path / "task"
    place.mkdir()
    for name, content in (GOOD | {"qrels.tsv": TWICE}).items():
        (place / name).write_text(content)
    monkeypatch.setattr("tempembed.encoders.load.load_encoder", lambda *_, **__: Encoder())
    with pytest.raises(UserError, match="expected one grade"):
        subject(Measure(model="m", task_folder=str(place), cache=str(tmp_path / "c")))
    assert (
        len(
            subject(
                Measure(model="m", task_folder=str(place), skip_bad_rows=True, cache=str(tmp_path / "c"))
            ).tasks
        )
        == 1
    )
