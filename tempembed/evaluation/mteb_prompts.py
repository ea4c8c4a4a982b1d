"""Which prompt a model's texts have in a task of mteb."""

from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.abs_encoder import get_prompt_name
from mteb.types import PromptType

from tempembed.encoders.role import Prompts


def task_prompt(prompts: Prompts, task: TaskMetadata, role: PromptType | None) -> str | None:
    """The model's prompt for a task by mteb's rules; None: the one of the role.

    What the user asks for comes first. mteb looks for names such as NFCorpus-query, NFCorpus, Retrieval-query, Retrieval and
    query, and else calls encode_query or encode_document; in tasks without roles plain encode, with its default prompt.
    """
    if role and role.value in prompts.asked:
        return None
    by_name = dict(prompts.by_name)
    name = get_prompt_name(by_name, task, role)
    if name is not None:
        return by_name[name]
    return None if role else prompts.of_neither
