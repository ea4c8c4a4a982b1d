"""The two roles of a text, and what an encoder does with a text of each: the one place that says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

RoleName = Literal["query", "document"]
T = TypeVar("T")
ROLES: tuple[RoleName, ...] = get_args(RoleName)
PROMPT_NAMES: dict[RoleName, tuple[str, ...]] = {
    "query": ("query",), "document": ("document", "passage", "corpus")
}  # fmt: skip
"""Whose prompt `encode_query` and `encode_document` of sentence-transformers take: the first that a model has."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """How the texts of a role are embedded."""

    name: RoleName
    prompt: str = ""
    """Put before each text."""
    max_tokens: int | None = None
    """Prompt and text are cut after so many tokens, special tokens included; None: at the model's own limit."""


def asked(query: T | None, document: T | None) -> dict[RoleName, T]:
    """By role, what the user asks for; None: nothing."""
    both: dict[RoleName, T | None] = {"query": query, "document": document}
    return {role: value for role, value in both.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A model's prompts, by sentence-transformers' rules; those asked for here come before all others."""

    by_name: Mapping[str, str]
    """As the model's configuration has them, "query" and "document" always among them."""
    default: str | None = None
    """Name of the prompt of plain `encode`."""
    asked: Mapping[RoleName, str]
    """Prompts that the user gave, by role."""

    @staticmethod
    def of_config(config: Mapping[str, Any], asked: Mapping[RoleName, str]) -> "Prompts":
        """From `prompts` and `default_prompt_name` of a model's configuration."""
        by_name = {name: prompt or "" for name, prompt in (config.get("prompts") or {}).items()}
        return Prompts(
            by_name={"query": "", "document": "", **by_name},
            default=config.get("default_prompt_name"),
            asked=asked,
        )

    def of_role(self, role: RoleName) -> str:
        """What `encode_query` or `encode_document` puts before a text."""
        if role in self.asked:
            return self.asked[role]
        name = next((name for name in PROMPT_NAMES[role] if name in self.by_name), self.default)
        return self.by_name.get(name or "", "")

    @property
    def of_neither(self) -> str:
        """What plain `encode` puts before a text, which knows no roles."""
        return self.by_name.get(self.default or "", "")

    def saved(self) -> dict[str, Any]:
        """`prompts` and `default_prompt_name` of the configuration of a model that was trained with these.

        `encode_query` and `encode_document` give the vectors that were trained. So does plain `encode` where it can: its
        default stays if it is the prompt of a role, and is the prompt of both roles where they share one.
        """
        of_roles: dict[str, str] = {role: self.of_role(role) for role in ROLES}
        by_name = {**self.by_name, **of_roles}
        default = self.default if by_name.get(self.default or "", "") in of_roles.values() else None
        if default is None and of_roles["query"] and of_roles["query"] == of_roles["document"]:
            default = "query"
        return {"prompts": by_name, "default_prompt_name": default}

    @property
    def by_role(self) -> "Prompts":
        """The same for both roles, and nothing else; what has no role is a document."""
        return Prompts(by_name={role: self.of_role(role) for role in ROLES}, default="document", asked={})

    def describe(self) -> str:
        """One line for a log."""
        said = ", ".join(f"{role} {self.of_role(role)!r}" for role in ROLES)
        others = [name for name, prompt in self.by_name.items() if prompt and name not in ROLES]
        unused = f" (the model has others: {', '.join(others)})" if others else ""
        return f"prompts: {said}{unused}"
