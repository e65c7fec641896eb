# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd package`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bkd_core.commands.options import refuse_options
from bkd_core.errors import InputError
import tyro


@dataclass(frozen=True, kw_only=True)
class Package:
    """
    Make a finished model ready to be passed on, as one zip file or folder that is checked on load.

    It holds weights, exports, settings, measured numbers, the model card, and the SHA-256 of each
    file. Wherever a model directory is taken, so is a package, folder or zip file; it is refused
    if a file of it is missing, changed or added. The same model always gives the same bytes.

    For example:

        bkd package runs/streets/student
        bkd package runs/streets/student --output released --data-licences 'generated; CC0'
        bkd package --check student.zip
    """

    model: Annotated[str, tyro.conf.Positional] = ''
    """Model directory, or 'default' for the student that comes with the package."""
    output: Path | None = None
    """A folder, or a file that ends in .zip; default NAME_OF_THE_MODEL.zip."""
    data_licences: str = ''
    """Whose data the model was trained on and under which licence; needed if the settings of its
    training do not say so."""
    check: Path | None = None
    """Instead of writing one, compare this package with the hashes in it."""

    def run(self, overrides: list[str]) -> None:
        """
        Write or check.

        :param overrides: Must be empty.
        """
        refuse_options(self, overrides)
        if (self.check is None) == (self.model == ''):
            raise InputError(
                "bkd package: expected a model, or --check FILE; see 'bkd package --help'")
        from bkd_core import model_directory
        from bkd_core.model_package import check_package, write_package
        if self.check is not None:
            package = check_package(self.check)
        else:
            name = model_directory.read_spec(model_directory.resolve(self.model)).name
            package = write_package(
                self.model, self.output or Path(f'{name}.zip'),
                data_licences=self.data_licences)
        print(f'{package.path}: {package.about.get("name")}, {len(package.files)} files, '
              f'{sum(package.files.values()) / 1e6:.1f} MB, all as their hashes say')
        if not package.is_reproducible:
            print(f"its commit is '{package.about.get('commit')}': the code that trained it "
                  'cannot be looked up')
