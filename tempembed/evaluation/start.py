"""What a model scores before it is trained, measured once for all runs that begin with it."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tempembed.codecs.sets import ALIAS_BUDGETS
from tempembed.encoders.encoder import Encoder
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.report import Evaluation
from tempembed.evaluation.report_files import REPORT, load_evaluation, write_report
from tempembed.evaluation.store import EmbeddingStore
from tempembed.evaluation.trained import evaluate_part, kinds_of_runs
from tempembed.inputs.inputs import Inputs
from tempembed.settings.flat import fingerprint
from tempembed.system.cache import cache_dir
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError

FORMAT = 1  # raise when what is measured of the same model and data changes


def evaluate_start(
    encoder: Encoder,
    part: tuple[Corpus, Inputs, Inputs],
    *,
    model: str,
    budgets: Sequence[int] = ALIAS_BUDGETS,
    say: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """The evaluation of a model as it is, found again by content: of the model, the data and what is measured.

    Args:
        encoder: the model before training.
        part: the data that the trained one is measured on.
        model: its name in the report.
        budgets: those that the trained one is measured at.
        say: takes lines of progress.
    """
    store = EmbeddingStore(cache_dir() / "embeddings", encoder, say)
    corpus = part[0]
    what = [store.fingerprint, encoder.role_rules(), corpus.fingerprint, sorted(budgets), kinds_of_runs()]
    folder = cache_dir() / "starts" / fingerprint([FORMAT, *what])
    try:
        return load_evaluation(folder / REPORT)
    except UserError:  # not there yet, or damaged
        pass
    say(f"measuring {model} before it is trained")
    found = evaluate_part(encoder, part, model=model, budgets=budgets, say=say, texts=store.embed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with room_for("evaluation of the start", folder.parent):
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
        try:
            write_report(found, partial / REPORT)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        except OSError:  # another run has written it meanwhile
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return found
