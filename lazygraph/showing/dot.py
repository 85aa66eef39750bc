"""A picture in graphviz's language, and as a file in any format.

`to_dot` is our own text and needs nothing installed. SVG is always possible; PNG, PDF and JPEG need the graphviz
package (extra `viz`) and its program `dot`.
"""

import shutil
from pathlib import Path

from lazygraph.errors import InvalidOption, MissingExtra, MissingProgram, suggest
from lazygraph.showing.draw import LIGHT, LIGHT_PAGE, to_svg
from lazygraph.showing.picture import LIMIT, Arrow, Box, Picture, caption, condense, printable, tooltip

FORMATS = ("svg", "png", "pdf", "jpg", "jpeg", "dot")
PROGRAM = "dot"
HINT = "install Graphviz (apt install graphviz, brew install graphviz, https://graphviz.org/download) or use svg"

_STYLES = {"constant": "rounded,filled", "external": "rounded,filled,dashed", "output": "rounded,filled,bold"}


def to_dot(picture: Picture) -> str:
    """The picture as a `digraph`, box for box: condense a large one first, dot takes long over it."""
    arrows = LIGHT_PAGE[4]
    lines = [
        "digraph lazygraph {",
        "  rankdir=TB; nodesep=0.3; ranksep=0.5; fontname=Helvetica; fontsize=16; labelloc=t;",
        f"  label={quoted(picture.title)};",
        '  node [shape=box, fontname=Helvetica, fontsize=12, height=0.42, margin="0.2,0.05"];',
        f"  edge [color={quoted(arrows)}, arrowsize=0.7];",
    ]
    lines += [_node(number, box) for number, box in enumerate(picture.nodes)]
    lines += [_edge(arrow) for arrow in picture.edges]
    lines.append("}")
    return "\n".join(lines) + "\n"


def render(picture: Picture, path: str | Path | None = None, format: str | None = None, limit: int = LIMIT) -> bytes:
    """The picture as a file's content, also written to `path` when one is given.

    The format is the given one, else the path's suffix, else svg. SVG comes from `dot` where package and program are
    installed, else from `to_svg`. Raises `InvalidOption` for an unknown format; `MissingExtra` or `MissingProgram`
    when the format needs what is not installed, before anything is written.
    """
    wanted = (format or Path(path or "").suffix.removeprefix(".") or "svg").lower()
    if wanted not in FORMATS:
        raise InvalidOption(
            f"a picture has no format {wanted!r}{suggest(wanted, FORMATS)}; there are {', '.join(FORMATS)}"
        )
    drawn = condense(picture, limit)
    if wanted == "dot":
        content = to_dot(drawn).encode()
    elif wanted == "svg" and not has_graphviz():
        content = to_svg(picture, limit).encode()
    else:
        content = _by_graphviz(drawn, wanted)
    if path is not None:
        Path(path).write_bytes(content)
    return content


def has_graphviz() -> bool:
    """Whether both graphviz's package and its program are installed."""
    try:
        import graphviz  # noqa: F401 - whether it can be imported is the question
    except ImportError:
        return False
    return shutil.which(PROGRAM) is not None


def _by_graphviz(picture: Picture, format: str) -> bytes:
    what = f"a picture as {format}"
    try:
        import graphviz
    except ImportError as error:
        raise MissingExtra(what, "viz") from error
    if shutil.which(PROGRAM) is None:
        raise MissingProgram(what, PROGRAM, HINT)
    content: bytes = graphviz.Source(to_dot(picture), engine=PROGRAM).pipe(format=format, quiet=True)
    return content


def quoted(text: str) -> str:
    """A dot string that shows exactly this text: dot gives a meaning to quotes, backslashes and HTML entities."""
    safe = printable(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + safe.replace("\r", "").replace("\n", "\\n") + '"'


def _node(number: int, box: Box) -> str:
    fill, stroke, text = LIGHT[box.kind]
    attributes = {
        "label": quoted(caption(box)),
        "tooltip": quoted(tooltip(box)),
        "style": quoted(_STYLES.get(box.kind, "rounded,filled")),
        "fillcolor": quoted(fill),
        "color": quoted(stroke),
        "fontcolor": quoted(text),
    }
    if box.count > 1:
        attributes["peripheries"] = "2"
    return f"  n{number} [{', '.join(f'{name}={value}' for name, value in attributes.items())}];"


def _edge(arrow: Arrow) -> str:
    attributes = []
    if arrow.kind != "data":
        attributes.append("style=dashed" if arrow.kind == "order" else "style=dotted")
    if arrow.kind == "failure":
        attributes.append(f"color={quoted(LIGHT_PAGE[5])}")
    if arrow.count > 1:
        attributes.append("penwidth=1.8")
    return f"  n{arrow.source} -> n{arrow.target}" + (f" [{', '.join(attributes)}];" if attributes else ";")
