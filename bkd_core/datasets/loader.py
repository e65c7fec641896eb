# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batches that pair source and target crops; each follows from the seed and the step alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
import logging
from typing import Iterator

from bkd_core.batch import DomainBatch, Window
from bkd_core.config import TrainingConfig
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.rare_class_sampling import count_classes, RareClassSampler
from bkd_core.datasets.transforms import cut_image, cut_labels, draw_window
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space, id_mapping
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

logger = logging.getLogger(__name__)

# DAFormer's number of tries for a crop that shows the class its image was drawn for.
_MAX_CROPS = 10
_Crop = tuple[np.ndarray, Window, 'np.ndarray | None']  # image, where it was cut, labels


class StepBatches(Dataset):
    """
    The batch of any step, by its number: resuming needs no loader state.

    Every pass over a data set uses a new permutation, so that no image comes twice before all
    came once. With rare class sampling, source images are drawn by the classes that they hold
    instead; all labels of the source are then read once beforehand.

    :param source: Labelled images.
    :param target: Images of the target, or None; their labels are never read.
    :param config: The run's configuration.
    :param positions: Which crops of each domain of a step's batch are made; None for all.
    """

    def __init__(
        self, source: SegmentationDataset, target: SegmentationDataset | None,
        config: TrainingConfig, *, positions: range | None = None,
    ) -> None:
        self.positions = range(config.batch_size) if positions is None else positions
        self.source = source
        self.target = target
        self.config = config
        label_space = get_label_space(config.label_space)
        self.mapping = id_mapping(source.label_space, label_space)
        sampling = config.rare_class_sampling
        self.rare_classes = None
        if sampling.temperature > 0:
            self.rare_classes = RareClassSampler(
                count_classes(source, self.mapping, label_space.num_classes),
                temperature=sampling.temperature, min_share=sampling.min_share)

    def __getitem__(self, step: int) -> DomainBatch:
        """
        Return the batch of a step.

        :param step: Number of the step, from 0.
        """
        images, windows, labels = self._crops(self.source, step, domain=0)
        batch = DomainBatch(source_images=images, source_labels=labels, source_windows=windows)
        if self.target is None:
            return batch
        images, windows, _ = self._crops(self.target, step, domain=1)
        return replace(batch, target_images=images, target_windows=windows)

    def _crops(
        self, dataset: SegmentationDataset, step: int, *, domain: int,
    ) -> tuple[torch.Tensor, tuple[Window, ...], torch.Tensor | None]:
        crops = []
        for position in self.positions:
            count = step * self.config.batch_size + position
            if domain == 0 and self.rare_classes is not None:
                crops.append(self._rare_class_crop(dataset, count))
            else:
                index = self._index(len(dataset), count, domain)
                crops.append(next(self._crops_of(dataset, index, count, domain)))
        images, windows, labels = zip(*crops)
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        batch = batch.contiguous(memory_format=torch.channels_last)
        return batch, windows, torch.from_numpy(np.stack(labels)).long() if domain == 0 else None

    def _crops_of(
        self, dataset: SegmentationDataset, index: int, count: int, domain: int,
    ) -> Iterator[_Crop]:
        """Yield random crops of one image, without end."""
        augmentation = self.config.augmentation
        size = augmentation.crop_size
        rng = np.random.default_rng([self.config.seed, domain, count])
        image = dataset.image(index)
        labels = self.mapping[dataset.labels(index)] if domain == 0 else None
        while True:
            window = draw_window(
                image.shape[:2], index=index, rng=rng, crop_size=size, flip=augmentation.flip,
                input_height=self.config.model.input_height,
                scale=augmentation.source_scale if domain == 0 else augmentation.target_scale)
            yield (
                cut_image(image, window, size), window,
                None if labels is None else cut_labels(labels, window, size))

    def _rare_class_crop(self, dataset: SegmentationDataset, count: int) -> _Crop:
        """Return the first crop that shows enough of the class its image was drawn for."""
        index, wanted = self.rare_classes.draw(
            np.random.default_rng([self.config.seed, 4, count]))
        crop = None
        for crop in islice(self._crops_of(dataset, index, count, 0), _MAX_CROPS):
            if (crop[2] == wanted).mean() >= self.config.rare_class_sampling.min_crop_share:
                break
        return crop

    def _index(self, length: int, count: int, domain: int) -> int:
        epoch, position = divmod(count, length)
        order = np.random.default_rng([self.config.seed, 2 + domain, epoch]).permutation(length)
        return int(order[position])


def make_loader(
    source: SegmentationDataset, target: SegmentationDataset | None, config: TrainingConfig, *,
    first_step: int = 0, positions: range | None = None,
) -> Iterator[DomainBatch]:
    """
    Return the batches from a step on to the end of the run.

    Warns where every crop would show a frame larger than the network sees it in use.

    :param source: Labelled images.
    :param target: Unlabelled images, or None.
    :param config: The run's configuration.
    :param first_step: The step to begin with.
    :param positions: Which crops of each domain of a step's batch are made, where processes
        share them; None for all.
    :raises InputError: From the batches, if a file cannot be read any more.
    """
    crop_size, height = config.augmentation.crop_size, config.model.input_height
    if min(crop_size) > height:
        logger.warning(
            'augmentation.crop_size %s: frames are enlarged to fill it, beyond the %d pixels at '
            'which the network sees them (model.input_height). Set it to at most that',
            crop_size, height)
    return _batches_of(DataLoader(
        StepBatches(source, target, config, positions=positions), batch_size=None,
        sampler=range(first_step, config.steps), num_workers=config.num_workers,
        prefetch_factor=2 if config.num_workers else None))


def _batches_of(loader: DataLoader) -> Iterator[DomainBatch]:
    try:
        yield from loader
    except InputError as error:
        # A loader process sends its whole traceback; the reason is what follows the type.
        *_, reason = str(error).rpartition(f'{InputError.__name__}: ')
        raise InputError(reason.strip()) from error
