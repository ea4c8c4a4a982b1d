"""MkDocs calls these: they write the pages of the API reference, one for each room of the package."""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def rooms() -> dict[str, list[str]]:
    """Modules by page: those of each folder of the package, and those that stand in none."""
    pages: dict[str, list[str]] = {}
    for package in ("tempembed", "ray_jobs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] != "__init__" and "scripts" not in parts:  # they are exported, not imported
                page = parts[1] if len(parts) > 2 else package
                pages.setdefault(page, []).append(".".join(parts))
    return dict(sorted(pages.items()))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation."""
    entry: dict[str, Any] = next(item for item in config.nav or [] if "Reference" in item)
    entry["Reference"] = [{page: f"reference/{page}.md"} for page in rooms()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the pages."""
    for page, modules in rooms().items():
        text = "\n\n".join([f"# {page}", *(f"## `{module}`\n\n::: {module}" for module in modules)])
        files.append(File.generated(config, f"reference/{page}.md", content=text))
    return files
