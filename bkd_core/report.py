# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A report as one self-contained HTML page: text, tables, plots and pictures."""

from __future__ import annotations

import base64
from dataclasses import dataclass
import hashlib
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
  --page: #ffffff; --band: #f4f5f7; --good: #1a7f37; --bad: #c2255c; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --soft: #a0a6b0;
  --line: #3a3f47; --page: #17191c; --band: #202327; --good: #3fb950; --bad: #ff7b9c; } }
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
svg { display: block; max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.verdict { border-left: .4rem solid var(--bad); background: var(--band); padding: .7rem 1rem; }
.verdict.good { border-color: var(--good); }
.verdict strong { display: block; font-size: 1.15rem; color: var(--bad); }
.verdict.good strong { color: var(--good); }
.compare { position: relative; max-width: 960px; }
.compare img { width: 100%; }
.compare .after { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at)); }
.compare .edge { position: absolute; top: 0; bottom: 0; left: var(--at); width: 3px;
  margin-left: -1.5px; background: #fff; box-shadow: 0 0 4px #000; pointer-events: none; }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0;
  opacity: 0; cursor: ew-resize; }
.compare:focus-within { outline: 3px solid Highlight; }
.ends { display: flex; justify-content: space-between; max-width: 960px; }
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

# Moves the edge between two pictures. The page allows this script and no other, by its hash.
_SCRIPT = """
for (const slider of document.querySelectorAll('.compare input')) {
  slider.addEventListener('input', () => {
    slider.parentElement.style.setProperty('--at', slider.value + '%');
  });
}
"""
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode('ascii')


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


@dataclass(frozen=True)
class Comparison:
    """
    Two pictures of the same place, one over the other, with an edge to be moved between them.

    :param title: Their heading.
    :param before: (caption, image) to the left of the edge; (H, W, 3) RGB, uint8.
    :param after: The same to the right of it, of the same size.
    """

    title: str
    before: tuple[str, np.ndarray]
    after: tuple[str, np.ndarray]

    def __post_init__(self) -> None:
        """Check that the two have one size."""
        shapes = self.before[1].shape, self.after[1].shape
        if shapes[0] != shapes[1]:
            raise ValueError(f"comparison '{self.title}': the images' shapes are {shapes}")


@dataclass(frozen=True)
class Plot:
    """
    A drawing of a report.

    :param title: Its heading.
    :param svg: The drawing as SVG markup; whoever draws escapes the texts.
    :param note: What a reader must know to read it.
    """

    title: str
    svg: str
    note: str = ''


@dataclass(frozen=True)
class Verdict:
    """
    What a report comes to, in a box above all else.

    :param is_good: Decides the colour.
    :param title: In a word or two.
    :param sentences: Why.
    """

    is_good: bool
    title: str
    sentences: Sequence[str]


def write_report(
        path: str | Path, *, title: str, verdict: Verdict | None = None,
        intro: Sequence[str] = (), tables: Sequence[Table] = (),
        comparisons: Sequence[Comparison] = (), plots: Sequence[Plot] = (),
        pictures: Sequence[Picture] = ()) -> None:
    """
    Write a report as one HTML file that any browser shows without a network.

    It reads on a phone (one picture below the other, wide tables scroll), in the dark and in
    print. Texts are escaped: none of them is taken for markup. Only comparisons need a script,
    which stands in the page; without it, each shows half of both pictures.

    :param path: The file; missing folders are made, a file that is there is replaced at once.
    :param title: Heading of the page.
    :param verdict: What it comes to.
    :param intro: Paragraphs.
    :param tables: Tables, below the paragraphs.
    :param comparisons: Pairs of pictures, below the tables.
    :param plots: Drawings, below those.
    :param pictures: Pictures, below all else.
    :raises InputError: If an image is not a uint8 image.
    """
    parts = [
        f'<h1>{escape(title)}</h1>', *map(_verdict, [verdict] if verdict else []),
        *(f'<p>{escape(text)}</p>' for text in intro), *map(_table, tables),
        *map(_comparison, comparisons), *map(_plot, plots), *map(_picture, pictures),
        f'<footer>Written by bkd_ros {escape(__version__)}.</footer>']
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if comparisons:
        policy += f"; script-src 'sha256-{_SCRIPT_HASH}'"
        parts.append(f'<script>{_SCRIPT}</script>')
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        + '\n'.join(parts) + '\n</body>\n</html>\n')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, page)


def _verdict(verdict: Verdict) -> str:
    kind = 'verdict good' if verdict.is_good else 'verdict'
    sentences = ''.join(f'<div>{escape(text)}</div>' for text in verdict.sentences)
    return f'<div class="{kind}"><strong>{escape(verdict.title)}</strong>{sentences}</div>'


def _comparison(comparison: Comparison) -> str:
    (left, before), (right, after) = comparison.before, comparison.after
    title = escape(comparison.title)
    height, width = before.shape[:2]
    size = f'width="{width}" height="{height}"'
    return (
        f'<section class="picture">\n<h2>{title}</h2>\n<figure>\n'
        '<div class="compare" style="--at: 50%">\n'
        f'<img src="{_data_url(before)}" {size} alt="{title}: {escape(left)}">\n'
        f'<img class="after" src="{_data_url(after)}" {size} alt="{title}: {escape(right)}">\n'
        f'<div class="edge"></div>\n<input type="range" min="0" max="100" value="50" '
        f'step="0.5" aria-label="{title}: move the edge">\n</div>\n'
        f'<figcaption class="ends"><span>&#9664; {escape(left)}</span>'
        f'<span>{escape(right)} &#9654;</span></figcaption>\n</figure>\n</section>')


def _plot(plot: Plot) -> str:
    note = f'\n<p class="note">{escape(plot.note)}</p>' if plot.note else ''
    return (
        f'<section class="picture">\n<h2>{escape(plot.title)}</h2>\n{plot.svg}{note}\n'
        '</section>')


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
