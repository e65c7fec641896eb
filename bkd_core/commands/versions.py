# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd versions`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from bkd_core.commands.options import refuse_options
from bkd_core.errors import InputError
import tyro


@dataclass(frozen=True, kw_only=True)
class Versions:
    """
    List the versions that adaptation made of a model, choose one, or go back.

    A node whose model is such a folder loads the version in use. Refused and damaged versions
    are listed, but can't be used.

    For example:

        bkd versions VERSIONS
        bkd versions VERSIONS use 3
        bkd versions VERSIONS rollback
        bkd versions VERSIONS prune --max-megabytes 200
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of versions, written by 'bkd adapt'."""
    action: Annotated[Literal['list', 'use', 'rollback', 'prune'], tyro.conf.Positional] = 'list'
    """What to do."""
    version: Annotated[str, tyro.conf.Positional] = ''
    """Number or name of the version, for 'use'."""
    max_megabytes: int = 500
    """For 'prune': what the versions may take up; those in use, before it, first and newest
    stay."""

    def run(self, overrides: list[str]) -> None:
        """
        List or change.

        :param overrides: Must be empty.
        """
        refuse_options(self, overrides)
        if (self.action == 'use') != bool(self.version):
            raise InputError(
                "bkd versions: 'use' needs a version and the other actions none, such as "
                f"'bkd versions {self.folder} use 1'")
        from bkd_core.adaptation.versions import ModelVersions
        versions = ModelVersions(self.folder)
        if self.action == 'use':
            print(f'in use: {versions.use(self.version).name}')
        elif self.action == 'rollback':
            print(f'in use: {versions.rollback().name}')
        elif self.action == 'prune':
            print(f'deleted: {", ".join(versions.prune(self.max_megabytes * 1_000_000)) or "-"}')
        else:
            self._print(versions.list())

    def _print(self, versions: list) -> None:
        from rich.console import Console
        from rich.table import Table
        if not versions:
            raise InputError(f"{self.folder}: holds no versions; 'bkd adapt' writes them")
        table = Table()
        for column in ('version', 'state', 'made (UTC)', 'from', 'MB'):
            table.add_column(
                column, justify='right' if column == 'MB' else 'left', no_wrap=True)
        for version in versions:
            state = version.state
            if version.is_in_use and state != 'in use':
                state = f'in use, {state}'
            table.add_row(
                version.name, state, version.created[:16].replace('T', ' '),
                version.parent and version.parent[:6] or '-', f'{version.num_bytes / 1e6:.1f}')
        Console().print(table)
        for version in versions:
            if version.state not in ('in use', 'accepted'):
                print(f'{version.name} {version.state}: {version.reason}')
        if len(versions) > 1:
            print(f'What the gate found of each: {self.folder}/VERSION/report.html')
