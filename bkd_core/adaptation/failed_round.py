# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The report of a round that ended without a version, since something that it got is wrong."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
import json
import logging
from pathlib import Path
import shutil
from typing import Iterator

import bkd_core
from bkd_core import atomic
from bkd_core.adaptation.report import JSON
from bkd_core.adaptation.round_input import RoundTask
from bkd_core.checkout import commit
from bkd_core.errors import InputError
from bkd_core.model_directory import REPORT
from bkd_core.report import Verdict, write_report

logger = logging.getLogger(__name__)

FAILED_ROUND = 'failed_round'


@contextmanager
def report_of_failure(task: RoundTask, *, parent: str) -> Iterator[None]:
    """
    Write `failed_round/report.html` and `.json` beside the versions if the block fails.

    They tell of the newest round: if the block succeeds, those of an earlier one are deleted.

    :param task: The round.
    :param parent: Name of the version in use.
    :raises InputError: The block's.
    """
    folder = task.output / FAILED_ROUND
    try:
        yield
    except InputError as error:
        try:
            _write(folder, task, parent, str(error))
        except OSError as fault:  # what went wrong first is what counts
            logger.warning('%s: cannot be written: %s', folder, fault)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, task: RoundTask, parent: str, reason: str) -> None:
    values = {
        'state': 'failed', 'reason': reason, 'parent': parent,
        'sources': [str(path) for path in task.sources], 'settings': asdict(task.settings),
        'ended': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'bkd_ros': bkd_core.__version__, 'commit': commit()}
    with atomic.directory(folder) as written:
        (written / JSON).write_text(json.dumps(values, indent=1), encoding='utf-8')
        write_report(
            written / REPORT, title='Adaptation', verdict=Verdict(False, 'Failed', [reason]),
            intro=[
                f'Version {parent} was to be adapted to {", ".join(values["sources"])}. No '
                'version was made, and the one in use stays.',
                f'Ended {values["ended"]}, bkd_ros {values["bkd_ros"]}, commit '
                f'{values["commit"]}, seed {task.settings.seed}.'])
