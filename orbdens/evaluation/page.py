"""One self-contained HTML page: a title, a table, and pictures inside it. Used for comparisons and for stores."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from orbdens.evaluation.pictures import Picture
from orbdens.files import written_whole


def write_page(
    path: Path, *, title: str, lead: str, table: str, pictures: Iterable[Picture], foot: str, below: str = ""
) -> None:
    """Write a page, whole or not at all.

    Args:
        path: replaced if it exists.
        title: title of the page.
        lead: a sentence below the title.
        table: HTML, as of ``html_table``; all else is plain text.
        pictures: below the table, in their order.
        foot: small print at the end.
        below: HTML between the pictures and the end.

    Raises:
        UserError: the file cannot be written.
    """
    page = PAGE.format(
        title=escape(title),
        lead=escape(lead),
        table=table,
        figures="\n".join(map(_figure, pictures)) + below,
        foot=escape(foot),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], notes: str) -> str:
    """A table of texts with notes below it."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(notes)}</p>"


def _figure(picture: Picture) -> str:
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" style="width: {picture.share_of_width:.0f}%" '
        f'src="data:image/png;base64,{base64.b64encode(picture.png).decode()}"><figcaption>{caption}</figcaption>'
        "</figure>"
    )


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color: #1d2733; background: #f5f7f9; font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }}
body {{ max-width: 82rem; margin: 0 auto; padding: 2rem 1rem 3rem }}
h1 {{ font-size: 1.6rem; margin: 0 0 .25rem }}
p {{ margin: .25rem 0 1.25rem; color: #47525e; max-width: 62rem }}
section, figure {{ background: white; border: 1px solid #e1e6eb; border-radius: 8px }}
section, figure {{ padding: 1rem 1.25rem; margin: 0 0 1.25rem }}
section, figure {{ overflow-x: auto }}
section p {{ font-size: .85rem; margin: .75rem 0 0 }}
table {{ border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums }}
th {{ font-weight: 600; color: #47525e; vertical-align: bottom; border-bottom: 2px solid #d9dee4 }}
th, td {{ text-align: right; padding: .45rem .4rem }}
td {{ white-space: nowrap }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; position: sticky; left: 0; background: white }}
tbody tr + tr td {{ border-top: 1px solid #eef1f4 }}
tbody tr:first-child {{ font-weight: 600 }}
iframe {{ width: 100%; height: 760px; border: 0 }}
img {{ display: block; height: auto; margin: 0 auto; max-width: 62rem }}
@media (max-width: 50rem) {{ img {{ min-width: 40rem }} }}
figcaption {{ font-size: .85rem; color: #47525e; margin-top: .5rem }}
footer {{ font-size: .8rem; color: #64707d }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{lead}</p>
<section>{table}</section>
{figures}
<footer>{foot}</footer>
</body>
</html>
"""
