"""The text of a pre-training run, in the tokens of the model that it starts from."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from tempembed.encoders.load_masked_lm import model_tokenizer
from tempembed.inputs.token_shards import TokenShards
from tempembed.settings.pretrain import PretrainSettings
from tempembed.stages.prepare_text import prepare_text
from tempembed.system.in_order import Pool


def prepared_text(
    settings: PretrainSettings, say: Callable[[str], None], over: Pool | None = None
) -> TokenShards:
    """The shards of a run (`prepare_text`), by its model's tokenizer, or by one that is trained on the text.

    Raises:
        UserError: as `prepare_text`; no such model, or one whose tokenizer has no mask token.
    """
    if settings.model.is_made_here:
        return prepare_text(settings.wanted_text, None, say, over=over)
    with tempfile.TemporaryDirectory() as folder:
        model_tokenizer(settings.model.encoder).save_pretrained(folder)
        return prepare_text(settings.wanted_text, Path(folder), say, over=over)
