"""A drawn graph: what `visualize` returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazygraph.showing.dot import render
from lazygraph.showing.draw import to_svg

if TYPE_CHECKING:
    from lazygraph.showing.picture import Picture

_MIME = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "pdf": "application/pdf",
    "jpg": "image/jpeg",
    "dot": "text/vnd.graphviz",
}


class Drawing:
    """A picture in some format; Jupyter shows it, `data` has its bytes."""

    def __init__(self, data: bytes, format: str) -> None:
        self.data, self.format = data, format

    def __repr__(self) -> str:
        return f"<Drawing: {len(self.data)} bytes of {self.format}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        text = self.format in ("svg", "dot")
        return {_MIME.get(self.format, "application/octet-stream"): self.data.decode() if text else self.data}


def draw(picture: Picture, filename: str | None, format: str | None) -> Drawing:
    """Draw a picture, and write it when there is a filename.  SVG is drawn here, the same on every machine."""
    chosen = format or (Path(filename).suffix[1:] if filename else "") or "svg"
    if chosen == "svg":
        data = to_svg(picture).encode()
        if filename:
            path = Path(filename)
            (path if path.suffix else path.with_suffix(".svg")).write_bytes(data)
    else:
        data = render(picture, filename, chosen)
    return Drawing(data, chosen)
