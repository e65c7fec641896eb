# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd data check | list`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

from bkd_core.commands.options import refuse_options
from bkd_core.errors import InputError
from rich.console import Console
from rich.table import Table
import tyro

_NUM_SHOWN = 10  # of the frames that something is wrong with
_BAR_WIDTH = 24


@dataclass(frozen=True, kw_only=True)
class Check:
    """
    Read a data set and tell what is in it, what is missing and what is broken.

    Every image and label file is decoded, values and colours are looked up, and sizes compared.
    Ends with code 2 if anything is wrong. The pixels of each class are kept for rare class
    sampling, which then need not read the labels again.

    For example:

        bkd data check gta5 ~/data/gta5 --output check_gta5
        bkd data check cityscapes ~/data/cityscapes --split val
        bkd data check image_folder my_data --options label_space=cityscapes19 labels=null
    """

    name: Annotated[str, tyro.conf.Positional]
    """Name of the data set; 'bkd data list' tells those that are known."""
    root: Annotated[Path | None, tyro.conf.Positional] = None
    """Its folder; none for a generated set."""
    split: str | None = None
    """Which part, for a data set that has some, such as train or val."""
    options: tuple[str, ...] = ()
    """Its other settings, as KEY=VALUE."""
    frames: int | None = None
    """Read only so many, evenly spaced; default all."""
    samples: int = 6
    """Frames that the picture shows."""
    output: Path | None = None
    """Folder for contact_sheet.jpg and statistics.json."""

    def run(self) -> None:
        """
        Check.

        :raises InputError: If something is wrong, after all of it has been told.
        """
        from bkd_core.datasets import build_dataset
        from bkd_core.datasets.check import check_frames
        from bkd_core.progress import progress_bar
        for option in ('frames', 'samples'):
            if getattr(self, option) is not None and getattr(self, option) < 1:
                raise InputError(f'--{option}: got {getattr(self, option)}; expected at least 1')
        settings = self._settings()
        dataset = build_dataset(self.name, root=self.root, **settings)
        _print_size(self.name, dataset)
        indices = _spaced(range(len(dataset)), self.frames)
        with progress_bar('check', len(indices)) as advance:
            found = check_frames(dataset, indices, advance)
        _print_statistics(found)
        if self.output is not None:
            self._write(dataset, found, settings)
        if found.faults:
            raise InputError(
                f'{self.root or self.name}: {len(found.faults)} of {len(indices)} frames cannot '
                f'be used; the first: {next(iter(found.faults.values()))}')

    def _settings(self) -> dict[str, Any]:
        import yaml
        settings = {} if self.split is None else {'split': self.split}
        for option in self.options:
            key, equals, value = option.partition('=')
            if not equals:
                raise InputError(f"--options: got '{option}'; expected KEY=VALUE")
            try:
                settings[key] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise InputError(f"--options {key}: '{value}' is no YAML value") from error
        return settings

    def _write(self, dataset: Any, found: Any, settings: dict[str, Any]) -> None:
        import json

        from bkd_core import atomic
        from bkd_core.datasets.contact_sheet import contact_sheet
        from bkd_core.visualization import encode_jpeg
        self.output.mkdir(parents=True, exist_ok=True)
        values = {
            'name': self.name, 'root': str(self.root or ''), 'settings': settings,
            'frames': len(dataset), 'published_frames': getattr(dataset, 'num_published', 0),
            'left_out': list(getattr(dataset, 'skipped', ())), **found.to_dict()}
        atomic.write_text(self.output / 'statistics.json', json.dumps(values, indent=1))
        if found.indices:
            shares = None if found.counts is None else found.shares
            sheet = contact_sheet(dataset, _spaced(found.indices, self.samples), shares)
            atomic.write_bytes(self.output / 'contact_sheet.jpg', encode_jpeg(sheet))
        print(f'written to {self.output}: {", ".join(sorted(_files(self.output)))}')


@dataclass(frozen=True, kw_only=True)
class List:
    """
    Tell which data sets there are, and their settings.

    For example:

        bkd data list
    """

    def run(self) -> None:
        """Tell."""
        import inspect

        from bkd_core.datasets import DATASETS
        table = Table()
        for column in ('name', 'what', 'settings; a star must be given'):
            table.add_column(column, no_wrap=column == 'name')
        for name, kind in sorted(DATASETS.items()):
            settings = [
                setting + ('*' if parameter.default is inspect.Parameter.empty else '')
                for setting, parameter in inspect.signature(kind).parameters.items()]
            table.add_row(
                name, inspect.getdoc(kind).partition('\n')[0], ', '.join(settings))
        Console().print(table)


@dataclass(frozen=True, kw_only=True)
class Data:
    """
    Check data sets before they are used, and list those that are known.

    For example:

        bkd data check --help
        bkd data list
    """

    what: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Union[Check, List]]]

    def run(self, overrides: list[str]) -> None:
        """
        Run the command.

        :param overrides: Must be empty.
        """
        refuse_options(self.what, overrides, 'data ')
        self.what.run()


def _spaced(indices: Any, count: int | None) -> list[int]:
    """Return so many of the numbers, evenly spaced from the first to the last."""
    if count is None or count >= len(indices):
        return list(indices)
    last = len(indices) - 1
    return [indices[round(step * last / max(count - 1, 1))] for step in range(count)]


def _print_size(name: str, dataset: Any) -> None:
    published, left_out = getattr(dataset, 'num_published', 0), getattr(dataset, 'skipped', ())
    line = f'{name}: {len(dataset):,} frames'
    if published:
        missing = published - len(dataset) - len(left_out)
        line += f' of the {published:,} published' + (
            f', {missing:,} are missing' if missing > 0 else '')
    if left_out:
        line += f'; left out, since image and labels differ in size: {", ".join(left_out)}'
    print(line)


def _print_statistics(found: Any) -> None:
    sizes = [f'{width}x{height} ({count:,})' for (height, width), count in found.sizes.items()]
    print(f'sizes: {", ".join(sizes[:_NUM_SHOWN])}'
          + (f' and {len(sizes) - _NUM_SHOWN} more' if len(sizes) > _NUM_SHOWN else ''))
    if found.counts is not None:
        _print_histogram(found)
    for name, fault in list(found.faults.items())[:_NUM_SHOWN]:
        print(f'{name}: {fault}')
    if len(found.faults) > _NUM_SHOWN:
        print(f'... and {len(found.faults) - _NUM_SHOWN:,} more')


def _print_histogram(found: Any) -> None:
    table = Table()
    for column, side in (
            ('class', 'left'), ('% of pixels', 'right'), ('frames', 'right'), ('', 'left')):
        table.add_column(column, justify=side)
    largest = max(found.shares.max(), 1e-9)
    for name, share, frames in zip(
            found.label_space.classes, found.shares, found.frames_with_class):
        bar = '█' * round(_BAR_WIDTH * share / largest)
        table.add_row(name, f'{100 * share:.3f}', f'{frames:,}', bar or ('▏' if share else ''))
    Console().print(table)
    print(f'{100 * found.unlabelled_share:.2f} % of all pixels have no class')


def _files(folder: Path) -> list[str]:
    return [name for name in ('contact_sheet.jpg', 'statistics.json') if (folder / name).exists()]
