"""Pictures inside a page: small, as data of the page itself."""

import base64
import io

from markupsafe import Markup

from tempembed.inputs.picture_store import is_picture, kept_pictures, title_of
from tempembed.inputs.pictures import decoded
from tempembed.system.errors import UserError

SIDE = 64
"""Pixels of the longer side; smaller pictures stay as they are."""


def thumbnail(name: str) -> Markup:
    """A picture as an <img>, its title beside it; a text as it is; of a picture that the cache has lost, its name."""
    if not is_picture(name):
        return Markup.escape(name)
    try:
        (content,) = kept_pictures().contents([name])
    except UserError:
        return Markup.escape(title_of(name))
    picture = decoded(content)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    title = title_of(name) if title_of(name) != name else ""
    return Markup('<img alt="{}" src="data:image/png;base64,{}"> {}').format(title or "picture", data, title)
