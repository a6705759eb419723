"""A document as values: sections with paragraphs, lists, tables and figures in them. All text is
plain; how it is set, numbered and shown is the business of whoever renders it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list, one point an entry."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their columns. No other table of the document has its `title`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> tuple[str, ...]:
        """The cells under one column, from the top."""
        index = self.columns.index(name)
        return tuple(row[index] for row in self.rows)


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing made of characters of equal width."""

    title: str
    drawing: str


@dataclass(frozen=True, slots=True)
class Contents:
    """The place of the table of contents."""


Block = Paragraph | Items | Table | Figure | Contents


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands under it, and the sections below."""

    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple["Section", ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """Its title, what stands on the cover, and its sections."""

    title: str
    cover: tuple[Block, ...]
    sections: tuple[Section, ...]

    def tables(self) -> Iterator[Table]:
        """All of them, in order."""
        yield from _tables_in(self.cover)
        for section in self.sections:
            yield from _tables_of(section)

    def table(self, title: str) -> Table:
        """The one with this title."""
        return next(table for table in self.tables() if table.title == title)


def _tables_of(section: Section) -> Iterator[Table]:
    yield from _tables_in(section.blocks)
    for below in section.sections:
        yield from _tables_of(below)


def _tables_in(blocks: Sequence[Block]) -> Iterator[Table]:
    return (block for block in blocks if isinstance(block, Table))


def table(title: str, columns: Sequence[str], rows: Iterator[Sequence[str]]) -> Table:
    """A table of rows that are made as they come."""
    return Table(title, tuple(columns), tuple(tuple(row) for row in rows))


def paragraphs(*texts: str) -> tuple[Paragraph, ...]:
    return tuple(Paragraph(text) for text in texts)
