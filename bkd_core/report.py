# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A report as one self-contained HTML page: text, tables and pictures, nothing from outside."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path
import re
from typing import Sequence

from bkd_core import __version__, atomic
from bkd_core.visualization import encode_jpeg, encode_png
import numpy as np

_MOST_COLORS_OF_PNG = 1024  # painted labels have a few, a photograph tens of thousands
_JPEG_QUALITY = 88
_NUMBER = re.compile(r'[-+−]?[\d.,]+(\s*±\s*[\d.,]+)?\s*(%|ms|s|MB|x)?|[-–—]|')

# Placed by grid: pictures stand side by side from 600 px on, one below the other on a phone.
_STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --soft: #5b616a; --line: #d9dce1;
  --page: #ffffff; --band: #f4f5f7; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --soft: #a0a6b0;
  --line: #3a3f47; --page: #17191c; --band: #202327; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 1.2rem 1rem 3rem; color: var(--text);
  background: var(--page); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans",
  sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .4rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
p { max-width: 75ch; }
.note, figcaption, footer { color: var(--soft); font-size: .875rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; min-width: 40%; font-size: .9rem; }
th, td { padding: .4rem .45rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: bottom; }
thead th { background: var(--band); border-bottom-width: 2px; }
tbody th { font-weight: 600; white-space: nowrap; }
th:first-child { position: sticky; left: 0; background: var(--band); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.pictures { display: grid; gap: .8rem; grid-template-columns: minmax(0, 1fr); }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; border-radius: 3px; }
.many img { width: 100%; }
figcaption { padding-top: .25rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .6rem; }
@media (min-width: 600px), print {
  .two { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .three { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
@media print {
  :root { --text: #000; --soft: #444; --line: #bbb; --page: #fff; --band: #f0f0f0; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2 { break-after: avoid; }
  .picture, tr { break-inside: avoid; }
  .table { overflow: visible; } table { font-size: 7.5pt; } th, td { padding: .2rem .3rem; }
  tbody th { white-space: normal; } }
"""


@dataclass(frozen=True)
class Table:
    """
    A table of a report.

    :param title: Its heading.
    :param columns: Heads of the columns; the first column names the rows.
    :param rows: A text for every column; columns of numbers are set to the right.
    :param note: What a reader must know beside the numbers: data, unit, seed, machine.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ''

    def __post_init__(self) -> None:
        """Check that every row has a cell for every column."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table '{self.title}': expected {len(self.columns)} cells a row "
                    f'({list(self.columns)}); got {list(row)}')


@dataclass(frozen=True)
class Picture:
    """
    Images of a report that belong side by side.

    :param title: Their heading.
    :param images: (caption, image) pairs; images (H, W, 3) RGB or (H, W) grey, uint8.
    """

    title: str
    images: Sequence[tuple[str, np.ndarray]]


def write_report(
        path: str | Path, *, title: str, intro: Sequence[str] = (), tables: Sequence[Table] = (),
        pictures: Sequence[Picture] = ()) -> None:
    """
    Write a report as one HTML file that any browser shows without a network.

    It reads on a phone (one picture below the other, wide tables scroll), in the dark and in
    print. Texts are escaped: none of them is taken for markup.

    :param path: The file; missing folders are made, a file that is there is replaced at once.
    :param title: Heading of the page.
    :param intro: Paragraphs.
    :param tables: Tables, below the paragraphs.
    :param pictures: Pictures, below the tables.
    :raises InputError: If an image is not a uint8 image.
    """
    parts = [
        f'<h1>{escape(title)}</h1>', *(f'<p>{escape(text)}</p>' for text in intro),
        *map(_table, tables), *map(_picture, pictures),
        f'<footer>Written by bkd_ros {escape(__version__)}.</footer>']
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        'content="default-src \'none\'; style-src \'unsafe-inline\'; img-src data:">\n'
        f'<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        + '\n'.join(parts) + '\n</body>\n</html>\n')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, page)


def _table(table: Table) -> str:
    is_number = [
        index > 0 and all(_NUMBER.fullmatch(str(row[index]).strip()) for row in table.rows)
        for index in range(len(table.columns))]
    kinds = [' class="number"' if number else '' for number in is_number]
    head = ''.join(
        f'<th scope="col"{kind}>{escape(str(column))}</th>'
        for column, kind in zip(table.columns, kinds))
    body = '\n'.join(f'<tr>{_cells(row, kinds)}</tr>' for row in table.rows)
    note = f'\n<p class="note">{escape(table.note)}</p>' if table.note else ''
    return (
        f'<section>\n<h2>{escape(table.title)}</h2>\n<div class="table"><table>\n'
        f'<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>{note}\n'
        '</section>')


def _cells(row: Sequence[str], kinds: list[str]) -> str:
    first, *others = (escape(str(cell)) for cell in row)
    return f'<th scope="row">{first}</th>' + ''.join(
        f'<td{kind}>{cell}</td>' for kind, cell in zip(kinds[1:], others))


def _picture(picture: Picture) -> str:
    count = len(picture.images)
    layout = '' if count < 2 else ' many two' if count in (2, 4) else ' many three'
    figures = '\n'.join(
        _figure(caption, image, picture.title) for caption, image in picture.images)
    return (
        f'<section class="picture">\n<h2>{escape(picture.title)}</h2>\n'
        f'<div class="pictures{layout}">\n{figures}\n</div>\n</section>')


def _figure(caption: str, image: np.ndarray, title: str) -> str:
    text = f'\n<figcaption>{escape(caption)}</figcaption>' if caption else ''
    alternative = f'{title}: {caption}' if caption else title
    source = _data_url(image)
    height, width = image.shape[:2]
    return (
        f'<figure><img src="{source}" width="{width}" height="{height}" '
        f'alt="{escape(alternative)}">{text}</figure>')


def _data_url(image: np.ndarray) -> str:
    as_png = encode_png(image)  # also refuses what is no image
    if _num_colors(image) <= _MOST_COLORS_OF_PNG:
        return 'data:image/png;base64,' + base64.b64encode(as_png).decode('ascii')
    as_jpeg = encode_jpeg(image, quality=_JPEG_QUALITY)
    return 'data:image/jpeg;base64,' + base64.b64encode(as_jpeg).decode('ascii')


def _num_colors(image: np.ndarray) -> int:
    if image.ndim == 2:
        return len(np.unique(image))
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    return len(np.unique(red << 16 | green << 8 | blue))
