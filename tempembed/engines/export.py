"""Write what loads the vectors of an encode into an engine: a folder with scripts, settings, schema and codec."""

import json
import shutil
from pathlib import Path
from uuid import uuid4

from tempembed.codecs.spec import Spec
from tempembed.engines.engine import SCRIPTS, Engine
from tempembed.index.exported import CODEC
from tempembed.index.shards import SHARDS, Encoded
from tempembed.system.errors import UserError
from tempembed.system.names import NAME

README = """# {num_rows:,} vectors into {title}

```
pip install -r requirements.txt
python load.py --target {target}
python search.py "how to parse a date" --target {target}     # needs tempembed, for the model and its codec
```

| | |
|---|---|
| vectors | `{shards}`: {num_rows:,} of `{codec}` |
| held as | {kept} |
| predicted by | `{predicted}`: what `tempembed codecs` and `tempembed evaluate --codecs {predicted}` measure of it |

{note}`load.py` reads the shards one by one and writes over what an earlier load left in the target under the name `{name}`; `search(settings, target,
queries, k)` in it takes the vectors of queries, `[Q, K]`.
"""


def export_engine(
    engine: Engine, encoded: Encoded, output: Path, *, storage: str | None, argument: int, name: str
) -> Spec:
    """Write the folder, whole or not at all.

    Args:
        engine: the engine.
        encoded: a finished encode.
        output: a new folder.
        storage: how the engine is to hold the vectors; None: as they are.
        argument: the number of that storage's codec, if it has one.
        name: of the table, collection or index.

    Returns:
        The codec of ours whose scores the engine's are.

    Raises:
        UserError: the engine cannot hold these vectors, or a name that it cannot have.
    """
    codec = encoded.codec()
    held = engine.storage(storage, codec.spec)
    predicted = engine.predicted_by(held, codec.spec, argument)
    if not NAME.fullmatch(name) or not name.isidentifier():
        raise UserError(
            f"--name {name[:60]!r}: expected letters, digits and underscores, the first a letter; choose another"
        )
    settings = {
        "engine": engine.name, "codec": str(codec.spec), "storage": held, "argument": argument, "predicted": str(predicted),
        "width": codec.spec.width, "bytes": codec.spec.search_bytes, "num_rows": encoded.num_rows, "name": name.lower(),
        "shards": str((encoded.folder / SHARDS).absolute()), "model": encoded.facts["model"],
    }  # fmt: skip
    partial = output.with_name(f".{output.name}.{uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    try:
        _copy(engine.script, partial / "load.py")
        for script in ("shards.py", "search.py"):
            _copy(SCRIPTS / script, partial / script)
        shutil.copytree(encoded.folder / CODEC, partial / CODEC)
        (partial / "settings.json").write_text(json.dumps(settings, indent=1))
        (partial / "requirements.txt").write_text("\n".join(("numpy", "pyarrow", *engine.packages)) + "\n")
        for file, text in engine.files(settings).items():
            (partial / file).write_text(text)
        note = f"{engine.note} " if engine.note else ""
        facts = {
            **settings,
            "title": engine.title,
            "kept": engine.storages[held].kept,
            "note": note,
            "target": _target(engine),
        }
        (partial / "README.md").write_text(README.format(**facts))
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return predicted


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def _target(engine: Engine) -> str:
    """The script's own target."""
    lines = engine.script.read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("TARGET = "))
