# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run: dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from bkd_core.errors import require
from bkd_core.labels import get_label_space
from bkd_core.method_config import MethodConfig, SourceOnlyConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """
    A data set.

    :param name: One of `bkd_core.datasets.DATASETS`.
    :param root: Its folder, relative to the data root; empty for a generated set.
    :param options: The data set's own settings.
    """

    name: str = 'streets'
    root: str = ''
    options: dict[str, Any] = field(default_factory=dict)


# What `model: {preset: NAME}` stands for; every option is named, so that one preset replaces
# another. Chosen from docs/results/students.md, at 640x480, one thread, ONNX Runtime.
MODEL_PRESETS: dict[str, dict[str, Any]] = {
    # 0.7 M parameters, 4.7 ms. Narrower pyramids take 0.1 to 0.3 ms less and see as much or less.
    'fast': {
        'network': 'lite_fpn', 'input_height': 192,
        'options': {'variant': 'lite0', 'num_stages': 5, 'width': 64, 'logits_stride': 4}},
    # 2.4 M parameters, 10.0 ms. Only lite2 at a height of 352 sees more, by 0.6 points.
    'accurate': {
        'network': 'lite_fpn', 'input_height': 256,
        'options': {'variant': 'lite0', 'num_stages': 6, 'width': 96, 'logits_stride': 4}},
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """
    The network that is trained.

    In a file, `preset` names one of `MODEL_PRESETS`; what stands beside it wins.

    :param network: One of `bkd_core.models.MODELS`.
    :param options: The network's own settings.
    :param input_height: Short side, in pixels, at which the network sees a frame.
    :param init: Model directory to start from, or 'stage:NAME' for an earlier stage of the
        same experiment; None starts from the network's own initialisation (ImageNet).
    """

    network: str = 'lite_fpn'
    options: dict[str, Any] = field(default_factory=dict)
    input_height: int = 352
    init: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self.input_height >= 32, 'model.input_height', self.input_height, 'at least 32')


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """
    What is done to a training image, in this order: scale, crop, flip, style, then colours.

    :param crop_size: (height, width) of the crops, pixels, multiples of 32; larger than
        `model.input_height` they would show enlarged frames only.
    :param source_scale: Range of the random scale of source images, relative to
        `model.input_height`.
    :param target_scale: The same for target images.
    :param flip: Mirror half of the images.
    :param source_style: Share of the frequencies, each way, whose amplitudes source images take
        from target images, in methods that see a target: the transfer of FDA (Yang & Soatto
        2020), whose smallest value is 0.01. 0 switches it off.
    :param color_jitter: Strength of brightness, contrast, saturation and hue changes of the
        images that the student learns from; 0 switches them off.
    :param blur: Probability of a Gaussian blur of those images.
    """

    crop_size: tuple[int, int] = (224, 224)
    source_scale: tuple[float, float] = (0.75, 1.5)
    target_scale: tuple[float, float] = (0.75, 1.5)
    flip: bool = True
    source_style: float = 0.0
    color_jitter: float = 0.6
    blur: float = 0.2

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(
            all(side >= 32 and side % 32 == 0 for side in self.crop_size),
            'augmentation.crop_size', self.crop_size, 'two multiples of 32')
        for name in ('source_scale', 'target_scale'):
            low, high = getattr(self, name)
            require(0 < low <= high, f'augmentation.{name}', (low, high), '0 < low <= high')
        require(
            0 <= self.color_jitter <= 1, 'augmentation.color_jitter', self.color_jitter,
            '0 to 1')
        require(
            0 <= self.source_style <= 0.5, 'augmentation.source_style', self.source_style,
            '0 to 0.5')
        require(0 <= self.blur <= 1, 'augmentation.blur', self.blur, '0 to 1')


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """
    An optimizer with a linear warm-up and a polynomial decay to zero.

    :param name: 'adamw', or 'sgd', which papers train DeepLabv2 with.
    :param momentum: Of SGD.
    :param learning_rate: Peak rate of the pretrained trunk.
    :param head_multiplier: The decoder's rate is this many times higher.
    :param weight_decay: Weight decay, decoupled in AdamW; not applied to norms and biases.
    :param warmup_steps: Steps of linear warm-up.
    :param power: Power of the decay.
    :param clip_norm: Gradients are scaled down to this L2 norm; 0 switches it off.
    """

    name: Literal['adamw', 'sgd'] = 'adamw'
    momentum: float = 0.9
    learning_rate: float = 3e-4
    head_multiplier: float = 5.0
    weight_decay: float = 0.01
    warmup_steps: int = 20
    power: float = 0.9
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(
            self.learning_rate > 0, 'optimizer.learning_rate', self.learning_rate, 'above 0')
        for name in ('head_multiplier', 'weight_decay', 'warmup_steps', 'power', 'clip_norm'):
            value = getattr(self, name)
            require(value >= 0, f'optimizer.{name}', value, 'at least 0')
        require(0 <= self.momentum < 1, 'optimizer.momentum', self.momentum, '0 to below 1')


@dataclass(frozen=True, kw_only=True)
class RareClassSamplingConfig:
    """
    Draw source images by their rare classes (DAFormer, Hoyer et al. 2022).

    The paper's counts of pixels (3000 of a GTA5 image, half as many of a 512 x 512 crop) are
    written as shares here.

    :param temperature: The lower, the more the rarest classes are preferred; 0.01 is the
        paper's. 0 switches the sampling off: every image comes equally often.
    :param min_share: An image holds a class from this share of its labelled pixels on.
    :param min_crop_share: The crop is drawn again, up to ten times, until it holds this share
        of the class that its image was drawn for.
    """

    temperature: float = 0.0
    min_share: float = 0.0015
    min_crop_share: float = 0.0057

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(
            self.temperature >= 0, 'rare_class_sampling.temperature', self.temperature,
            'at least 0')
        for name in ('min_share', 'min_crop_share'):
            value = getattr(self, name)
            require(0 <= value < 1, f'rare_class_sampling.{name}', value, '0 to below 1')


@dataclass(frozen=True, kw_only=True)
class RecordsConfig:
    """
    What a run writes down beside its losses; nothing here changes what is trained.

    These settings are no part of what a checkpoint or a finished model is compared with, so they
    may be changed in the middle of a run.

    :param log_steps: Speed, learning rate, memory and TensorBoard's numbers are written after
        every so many steps.
    :param tensorboard: Also write TensorBoard's event files, into the run's `tensorboard/`.
    :param pictures_steps: After every so many steps a picture of a few validation frames, their
        labels and what the network says goes into the run's `pictures/`; 0 for never, since
        those frames then lie in the model directory.
    :param pictures_frames: Frames that a picture shows, evenly spaced over the validation set.
    :param pictures_kept: The newest so many pictures stay.
    :param validation_steps: After every so many steps the network is scored on validation
        frames, and the best one so far is kept as the model directory `best/`; 0 for never.
    :param validation_frames: Frames that it is scored on then, evenly spaced; 0 for all.
    """

    log_steps: int = 20
    tensorboard: bool = False
    pictures_steps: int = 0
    pictures_frames: int = 3
    pictures_kept: int = 20
    validation_steps: int = 0
    validation_frames: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ('log_steps', 'pictures_frames', 'pictures_kept'):
            value = getattr(self, name)
            require(value >= 1, f'records.{name}', value, 'at least 1')
        for name in ('pictures_steps', 'validation_steps', 'validation_frames'):
            value = getattr(self, name)
            require(value >= 0, f'records.{name}', value, 'at least 0')


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """
    One training run.

    :param label_space: Label space of the network; the data sets' labels are mapped into it.
    :param source: Labelled images.
    :param target: Images whose labels are never read.
    :param validation: Labelled images of the target domain, for measuring only; where it has
        none, of the source, other ones than those trained on.
    :param method: How to learn; its name chooses its settings.
    :param rare_class_sampling: How often each source image comes.
    :param steps: Optimizer steps.
    :param batch_size: Crops of each domain in a step, of all processes together.
    :param gradient_accumulation_steps: A step's crops pass through the network in this many
        parts, one after the other, in as much less memory; the loss is that of the whole batch.
        Batch normalisation sees the parts.
    :param sync_batch_norm: Where several processes train, batch normalisation takes its
        statistics over all of them; else over the crops of each, and the running ones are the
        mean over the processes.
    :param seed: Everything random follows from it.
    :param precision: 'float32', 'bfloat16' (autocast) or 'auto' (bfloat16 on a GPU that has it).
    :param device: 'auto', 'cpu', 'cuda' or 'cuda:N'; of several processes each takes a GPU of
        its own with 'auto' and 'cuda'.
    :param loss_stride: Losses are computed at one pixel in this many, each way.
    :param batch_statistics: In batch normalisation, 'shared' normalises source and target crops
        together; 'per_domain' each by its own statistics, of which only the target's are
        remembered. Without a target both are the same.
    :param checkpoint_steps: A checkpoint is written after this many steps.
    :param num_workers: Loader processes of each training process; 0 loads in that one.
    :param half_precision_weights: Store the finished model's weights as float16: half the size.
        Its ONNX file stays float32.
    :param data_licences: Text for the model card: whose data this is and under which licence.
        Needed where source frames are to travel with the model (`bkd train --replay-frames`).
    :param records: What the run writes down.
    """

    label_space: str = 'street9'
    source: DataConfig = field(default_factory=DataConfig)
    target: DataConfig = field(default_factory=DataConfig)
    validation: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=SourceOnlyConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    rare_class_sampling: RareClassSamplingConfig = field(default_factory=RareClassSamplingConfig)
    steps: int = 400
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    sync_batch_norm: bool = False
    seed: int = 0
    precision: Literal['auto', 'float32', 'bfloat16'] = 'auto'
    device: str = 'auto'
    loss_stride: int = 2
    batch_statistics: Literal['shared', 'per_domain'] = 'shared'
    checkpoint_steps: int = 50
    num_workers: int = 0
    half_precision_weights: bool = False
    data_licences: str = ''
    records: RecordsConfig = field(default_factory=RecordsConfig)

    def __post_init__(self) -> None:
        """Check the ranges."""
        get_label_space(self.label_space)
        for name in ('steps', 'batch_size', 'checkpoint_steps', 'gradient_accumulation_steps'):
            require(getattr(self, name) >= 1, name, getattr(self, name), 'at least 1')
        require(
            self.batch_size % self.gradient_accumulation_steps == 0,
            'gradient_accumulation_steps', self.gradient_accumulation_steps,
            f'a divisor of batch_size, {self.batch_size}')
        require(self.loss_stride in (1, 2, 4), 'loss_stride', self.loss_stride, '1, 2 or 4')
        require(self.num_workers >= 0, 'num_workers', self.num_workers, 'at least 0')
        require(self.seed >= 0, 'seed', self.seed, 'at least 0')
