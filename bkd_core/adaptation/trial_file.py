# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Which version of a model a node has on trial; a file beside the versions that outlives the node.

It is written before the version is loaded: one that ends the node is known at the next start.
Each node has a file of its own, so no other process writes it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import json
from pathlib import Path

from bkd_core import atomic
from bkd_core.adaptation.trial_window import FrameScores
from bkd_core.errors import InputError
import numpy as np


@dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """
    A trial of which a restarted node knows.

    :param version: The version on trial.
    :param before: The version before.
    :param averages: Camera -> how many frames the version before answered, and their mean.
    :param num_starts: So many processes began the trial and did not end in good order; the one
        that runs counts, too.
    """

    version: str
    before: str
    averages: dict[str, tuple[int, FrameScores]]
    num_starts: int = 1


class TrialFile:
    """
    The file of one node's trial.

    :param folder: The folder of versions.
    :param node: The node's full name, such as '/robot/segmentation_node'.
    """

    def __init__(self, folder: Path, node: str) -> None:
        self.path = folder / f'on_trial{node.replace("/", ".")}.json'

    def read(self) -> StoredTrial | None:
        """
        Return the trial, or None if there is none.

        :raises InputError: If the file is damaged.
        """
        try:
            trial = StoredTrial(**json.loads(self.path.read_text(encoding='utf-8')))
            return StoredTrial(
                version=trial.version, before=trial.before, num_starts=int(trial.num_starts),
                averages={
                    camera: (int(count), FrameScores(
                        **{**scores, 'label_shares': np.array(scores['label_shares'], float)}))
                    for camera, (count, scores) in trial.averages.items()})
        except FileNotFoundError:
            return None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f'{self.path}: damaged; expected the version on trial. Delete it: the version in '
                'use counts as no longer on trial then') from error

    def write(self, trial: StoredTrial) -> None:
        """
        Write the trial; a kill leaves the file before or this one.

        :param trial: The trial.
        :raises OSError: If the folder is read-only or full.
        """
        atomic.write_text(self.path, json.dumps(asdict(trial), default=np.ndarray.tolist))

    def delete(self) -> None:
        """Delete the file if there is one; raises OSError if the folder is read-only."""
        self.path.unlink(missing_ok=True)
