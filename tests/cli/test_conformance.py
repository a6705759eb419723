"""pacsnode conformance: the document as Markdown and as HTML."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pacsnode.cli.html import to_html
from pacsnode.cli.markdown import escaped, to_markdown
from pacsnode.config.model import Configuration
from pacsnode.node.conformance import statement
from pacsnode.node.conformance.document import Document, Figure, Items, Paragraph, Section, Table
from tests.conftest import Completed

Pacsnode = Callable[..., Completed]
NASTY = "a|b *c* _d_ <e> [f](g) `h` \\ #i ~~j~~ &amp; k_l"


def cells_of(page: str) -> list[list[list[str]]]:
    """The tables of an HTML page: rows of cells, the first being the titles."""
    root = ElementTree.fromstring(page.partition("\n")[2])
    return [
        [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
        for table in root.iter("table")
    ]


def headings_of(page: str) -> Iterator[ElementTree.Element]:
    root = ElementTree.fromstring(page.partition("\n")[2])
    return (one for one in root.iter() if one.tag in ("h2", "h3", "h4", "h5", "h6"))


@given(st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1))
def test_text_stays_what_it_is(text: str) -> None:
    text = " ".join(text.replace("`", "'").split()) or "-"
    page = to_html(to_markdown(Document("T", (Paragraph(text),), ())), "T")
    root = ElementTree.fromstring(page.partition("\n")[2])
    body = root.find("body")
    assert body is not None
    assert [element.tag for element in body] == ["h1", "p"]
    assert "".join(body[1].itertext()) == escaped_controls(text)


def escaped_controls(text: str) -> str:
    from pacsnode.log import printable

    return printable(text)


@pytest.mark.parametrize(
    "text", [NASTY, "__0__", "- x", "1. x", "+ x", "= x", "===", "---", "12) x"]
)
def test_no_text_is_taken_for_markup(text: str) -> None:
    table = Table("t", ("A", "B"), ((text, "2"), ("3", text)))
    document = Document("T", (Paragraph(text), Items((text,)), table), ())
    page = to_html(to_markdown(document), "T")
    shown = text.replace("`", "")
    assert cells_of(page) == [[["A", "B"], [shown, "2"], ["3", shown]]]
    root = ElementTree.fromstring(page.partition("\n")[2])
    assert ["".join(one.itertext()).strip() for one in root.iter("li")] == [shown]
    assert "".join(next(iter(root.iter("p"))).itertext()) == shown


def test_what_is_typed_is_set_apart() -> None:
    assert escaped("run `a_b *` now_ *") == "run `a_b *` now\\_ \\*"


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert "\x1b" not in to_markdown(Document("\x1b[2J", (Paragraph("a\nb\x07"),), ()))


def test_sections_are_numbered_and_a_table_without_rows_says_so() -> None:
    below = Section("Below", (Table("Empty", ("A", "B"), ()), Figure("F", "a -> b")))
    text = to_markdown(Document("T", (), (Section("One"), Section("Two", sections=(below,)))))
    assert "\n## 1 One\n" in text
    assert "\n## 2 Two\n\n### 2.1 Below\n" in text
    assert "\n**Table 1: Empty**\n\n| A | B |\n| --- | --- |\n| none |  |\n" in text
    assert "```text\na -> b\n```" in text


def test_the_statement_is_printed_as_markdown(pacsnode: Pacsnode) -> None:
    done = pacsnode("conformance")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("# DICOM Conformance Statement\n")
    # Every table is a table to whoever reads Markdown.
    tokens = MarkdownIt("commonmark").enable("table").parse(done.stdout)
    tables = [token for token in tokens if token.type == "table_open"]
    assert len(tables) == done.stdout.count("\n**Table ")
    assert len(tables) > 30


def test_the_statement_as_html_is_one_page_with_the_same_tables(
    pacsnode: Pacsnode, tmp_path: Path
) -> None:
    done = pacsnode("conformance", "--format", "html", "-o", "c.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = (tmp_path / "c.html").read_text("utf-8")
    open_to_all = Configuration.model_validate({"access": {"unknown_callers": "all"}})
    expected = statement(open_to_all, date.today())
    shown = cells_of(page)
    for table, (titles, *rows) in zip(expected.tables(), shown, strict=True):
        assert tuple(titles) == table.columns
        if table.rows and table.title != "Configuration Parameters":  # it has paths
            assert tuple(map(tuple, rows)) == table.rows, table.title


def test_every_entry_of_the_contents_leads_to_its_heading() -> None:
    document = statement(Configuration(), date(2026, 11, 21))
    page = to_html(to_markdown(document), "T")
    root = ElementTree.fromstring(page.partition("\n")[2])
    links = {
        link.get("href"): "".join(link.itertext())
        for link in root.iter("a")
    }  # fmt: skip
    headings = {f"#{one.get('id')}": "".join(one.itertext()) for one in headings_of(page)}
    assert len(headings) > 40
    assert links == headings


def test_names_of_the_configuration_break_no_table(pacsnode: Pacsnode, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        'modalities: {"a|b<i>": {ae_title: "A|B*_", host: 10.0.0.1}}\n', "utf-8"
    )
    done = pacsnode("conformance", "--format", "html")
    rows = [row for table in cells_of(done.stdout) for row in table if row[0] == "a|b<i>"]
    assert [row[1] for row in rows] == ["A|B*_"] * 2


def test_a_broken_configuration_is_exit_code_2(pacsnode: Pacsnode, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("nosuchkey: 1\n", "utf-8")
    done = pacsnode("conformance")
    assert done.returncode == 2
    assert "nosuchkey" in done.stderr
    assert done.stdout == ""


def test_a_file_that_cannot_be_written_is_named(pacsnode: Pacsnode) -> None:
    done = pacsnode("conformance", "-o", "nosuchfolder/c.md")
    assert done.returncode == 1
    assert "nosuchfolder/c.md: No such file or directory" in done.stderr
