"""A document as Markdown: CommonMark with tables, as GitHub, GitLab and Pandoc read it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

from pacsnode.log import printable

if TYPE_CHECKING:
    from pacsnode.node.conformance.document import Block, Document, Section, Table

# What Markdown takes for markup, wherever it stands. An underscore between letters is none.
_MARKUP = re.compile(r"[\\`*<>\[\]|~&#]|(?<![^\W_])_|_(?![^\W_])")
_FIRST = re.compile(r"^([-+=]|\d+(?=[.)]))")  # of a line: lists, headings
_TYPED = re.compile(r"(`[^`|]+`)")

_NOTHING = "none"
_LEVEL = 2  # of the headings under the title


def to_markdown(document: "Document") -> str:
    """The whole document, its sections numbered."""
    return "\n\n".join(_Writer(document).blocks()) + "\n"


def anchor(heading: str) -> str:
    """By which a link finds a heading: what GitHub makes of it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


class _Writer:
    """Counts tables while it writes."""

    def __init__(self, document: "Document") -> None:
        self._document = document
        self._tables = count(1)

    def blocks(self) -> Iterator[str]:
        yield f"# {escaped(self._document.title)}"
        yield from self._written(self._document.cover)
        for depth, heading, section in _numbered(self._document.sections):
            yield f"{'#' * (_LEVEL + depth)} {escaped(heading)}"
            yield from self._written(section.blocks)

    def _written(self, blocks: "Iterable[Block]") -> Iterator[str]:
        from pacsnode.node.conformance.document import Contents, Figure, Items, Paragraph

        for block in blocks:
            if isinstance(block, Paragraph):
                yield _paragraph(block.text)
            elif isinstance(block, Items):
                yield "\n".join(f"- {_paragraph(text)}" for text in block.texts)
            elif isinstance(block, Figure):
                yield f"```text\n{block.drawing}\n```"
                yield f"*Figure: {escaped(block.title)}*"
            elif isinstance(block, Contents):
                yield _contents(self._document.sections)
            else:
                yield f"**Table {next(self._tables)}: {escaped(block.title)}**"
                yield _table(block)


def _numbered(
    sections: "Sequence[Section]", depth: int = 0, above: str = ""
) -> "Iterator[tuple[int, str, Section]]":
    """Every section with its depth and its heading, from the beginning to the end."""
    for number, section in enumerate(sections, 1):
        own = f"{above}{number}"
        yield depth, f"{own} {section.title}", section
        yield from _numbered(section.sections, depth + 1, f"{own}.")


def _contents(sections: "Sequence[Section]") -> str:
    return "\n".join(
        f"{'  ' * depth}- [{escaped(heading)}](#{anchor(heading)})"
        for depth, heading, _ in _numbered(sections)
    )


def _paragraph(text: str) -> str:
    return _FIRST.sub(r"\\\1", escaped(text)) if not text[:1].isdigit() else _numeral(text)


def _numeral(text: str) -> str:
    """A text that begins with a number, which a dot would make a list."""
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", escaped(text))


def _table(table: "Table") -> str:
    rows = table.rows or ((_NOTHING, *[""] * (len(table.columns) - 1)),)
    lines = [table.columns, ["---"] * len(table.columns), *rows]
    written = [[escaped(cell) for cell in line] for line in lines]
    written[1] = list(lines[1])
    return "\n".join(f"| {' | '.join(line)} |" for line in written)


def escaped(text: str) -> str:
    """A text that stays what it is, but for what stands between backticks: that is typed so."""
    parts = _TYPED.split(printable(text))
    return "".join(
        part if index % 2 else _MARKUP.sub(r"\\\g<0>", part) for index, part in enumerate(parts)
    )
