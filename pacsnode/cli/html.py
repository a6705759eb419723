"""Markdown as one HTML file that needs no other: to be read in a browser, and printed."""

import itertools
from html import escape
from typing import TYPE_CHECKING

from pacsnode.cli.markdown import anchor

if TYPE_CHECKING:
    from markdown_it.token import Token

STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b;
       font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3, h4, h5, h6 { line-height: 1.25; margin: 2rem 0 0.75rem; }
h2 { border-bottom: 1px solid #ccc; padding-bottom: 0.25rem; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; font-size: 0.85rem; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.5rem; text-align: left;
         vertical-align: top; overflow-wrap: anywhere; }
th { background: #eef2f5; overflow-wrap: normal; }
tr { break-inside: avoid; }
pre { background: #f6f8fa; padding: 1rem; overflow-x: auto; font-size: 0.8rem; line-height: 1.3; }
a { color: #0b5394; text-decoration: none; }
@media print { body { max-width: none; margin: 0; font-size: 10pt; } thead {
       display: table-header-group; } }
""".strip()

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{body}</body>
</html>
"""


def to_html(markdown: str, title: str) -> str:
    """A page of this Markdown, whose headings can be linked to; well-formed as XML, too."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"xhtmlOut": True, "html": False}).enable("table")
    tokens = parser.parse(markdown)
    for opening, content in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(_text(content)))
    body = parser.renderer.render(tokens, parser.options, {})
    return PAGE.format(title=escape(title), style=STYLE, body=body)


def _text(inline: "Token") -> str:
    """A heading less its markup."""
    return "".join(child.content for child in inline.children or ())
