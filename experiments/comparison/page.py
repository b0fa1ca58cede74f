"""One document as Markdown and as one HTML file with its pictures inside, for screen and paper."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the document's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `code` and **bold** are all the mark-up there is."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table; the first column is text, the others are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A picture by its file name, with what a reader who cannot see it is told."""

    file: str
    alt: str


Block = Heading | Paragraph | Items | Grid | Picture


def markdown(blocks: Sequence[Block], pictures: str = "") -> str:
    """The document as Markdown.

    Args:
        blocks: its parts in order.
        pictures: folder of the pictures, as seen from the file, with its slash.
    """
    return "\n\n".join(_markdown(block, pictures) for block in blocks) + "\n"


def _markdown(block: Block, pictures: str) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Items(items):
            return "\n".join(f"- {item}" for item in items)
        case Grid(head, rows):
            lines = [head, tuple("---" for _ in head), *rows]
            return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)
        case Picture(file, alt):
            return f"![{alt}]({pictures}{file})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --faint: #5d5d5d; --line: #d9d9d9;
  --page: #ffffff; --raised: #f6f6f4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e3; --faint: #a9a6a1; --line: #45433f;
  --page: #1b1a18; --raised: #262422; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 60rem; background: var(--page);
  color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h3 { font-size: 1.02rem; margin-top: 1.6rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
th { font-weight: 600; color: var(--faint); vertical-align: bottom; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--page); }
figure { margin: 1rem 0; }
img { display: block; width: 100%; max-width: 900px; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: 4px; }
code { background: var(--raised); padding: .1em .3em; border-radius: 3px; font-size: .9em;
  overflow-wrap: anywhere; }
li { margin: .35rem 0; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; color: #000; background: #fff; }
  table { font-size: 7.5pt; } .wide { overflow: visible; } td { white-space: normal; }
  figure, table, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""


def document(blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """The document as one HTML file that needs nothing else, not even a network.

    Args:
        blocks: its parts in order; the first heading of level 1 is the title.
        pictures: the PNG files by name.
    """
    title = next((b.text for b in blocks if isinstance(b, Heading) and b.level == 1), "quietdial")
    body = "\n".join(_html(block, pictures) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block, pictures: Mapping[str, bytes]) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_inline(text)}</p>"
        case Items(items):
            return "<ul>\n" + "\n".join(f"<li>{_inline(item)}</li>" for item in items) + "\n</ul>"
        case Grid(head, rows):
            top = "".join(f'<th scope="col">{_inline(text)}</th>' for text in head)
            lines = [
                "<tr>" + "".join(f"<td>{_inline(text)}</td>" for text in row) + "</tr>"
                for row in rows
            ]
            return (
                f'<div class="wide"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n'
                + "\n".join(lines)
                + "\n</tbody></table></div>"
            )
        case Picture(file, alt):
            data = base64.b64encode(pictures[file]).decode("ascii")
            said = html.escape(alt, quote=True)
            return f'<figure><img alt="{said}" src="data:image/png;base64,{data}"></figure>'


def _inline(text: str) -> str:
    """Text with `code` and **bold** as HTML; everything else is shown as it stands."""
    safe = html.escape(text, quote=False)
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
