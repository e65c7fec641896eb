# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run: dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Union

from bkd_core.errors import InputError
from bkd_core.labels import get_label_space


def _require(condition: bool, setting: str, got: Any, expected: str) -> None:
    if not condition:
        raise InputError(f'{setting}: got {got!r}; expected {expected}')


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
        _require(self.input_height >= 32, 'model.input_height', self.input_height, 'at least 32')


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
        _require(
            all(side >= 32 and side % 32 == 0 for side in self.crop_size),
            'augmentation.crop_size', self.crop_size, 'two multiples of 32')
        for name in ('source_scale', 'target_scale'):
            low, high = getattr(self, name)
            _require(0 < low <= high, f'augmentation.{name}', (low, high), '0 < low <= high')
        _require(
            0 <= self.color_jitter <= 1, 'augmentation.color_jitter', self.color_jitter,
            '0 to 1')
        _require(
            0 <= self.source_style <= 0.5, 'augmentation.source_style', self.source_style,
            '0 to 0.5')
        _require(0 <= self.blur <= 1, 'augmentation.blur', self.blur, '0 to 1')


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
        _require(
            self.learning_rate > 0, 'optimizer.learning_rate', self.learning_rate, 'above 0')
        for name in ('head_multiplier', 'weight_decay', 'warmup_steps', 'power', 'clip_norm'):
            value = getattr(self, name)
            _require(value >= 0, f'optimizer.{name}', value, 'at least 0')
        _require(0 <= self.momentum < 1, 'optimizer.momentum', self.momentum, '0 to below 1')


@dataclass(frozen=True, kw_only=True)
class SourceOnlyConfig:
    """Supervised training on the source (on a labelled target it is the oracle)."""

    name: Literal['source_only'] = 'source_only'


@dataclass(frozen=True, kw_only=True)
class MaxSquareConfig:
    """
    Maximum squares loss with image-wise class weighting (Chen, Xue & Cai 2019).

    :param lambda_target: Weight of the maximum squares loss. 0.1 is the paper's; its authors'
        code also divides the loss by half of the number of classes, this does not (inferred).
    :param alpha: 0 weighs all target pixels alike, 1 all predicted classes of an image alike.
    :param lambda_auxiliary: Weight of an auxiliary head's losses, where the network has one.
    :param guidance_threshold: The auxiliary head learns from target pixels of which a level is
        surer than this.
    """

    name: Literal['max_square'] = 'max_square'
    lambda_target: float = 0.1
    alpha: float = 0.2
    lambda_auxiliary: float = 0.1
    guidance_threshold: float = 0.95

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ('lambda_target', 'lambda_auxiliary'):
            _require(getattr(self, name) >= 0, f'method.{name}', getattr(self, name), '>= 0')
        _require(0 <= self.alpha <= 1, 'method.alpha', self.alpha, '0 to 1')
        _require(
            0 <= self.guidance_threshold < 1, 'method.guidance_threshold',
            self.guidance_threshold, '0 to below 1')


@dataclass(frozen=True, kw_only=True)
class FourierDomainAdaptationConfig:
    """
    FDA (Yang & Soatto 2020): the target's low frequencies, robust entropy, self-training.

    :param beta: Share of the frequencies, each way, whose amplitudes are swapped. The paper
        trains three networks, with 0.01, 0.05 and 0.09.
    :param lambda_entropy: Weight of the target's robust entropy.
    :param eta: Exponent of its penalty; above 0.5 uncertain pixels weigh more.
    :param pseudo_teacher: Model directory, or 'stage:NAME', that labels the target in a
        self-training round; a list of several is averaged. None in the first round.
    :param lambda_pseudo: Weight of the pseudo-labels' cross-entropy.
    :param pseudo_share: Of each class this share of the pixels, the most confident, count.
    :param pseudo_threshold: Pixels above this confidence always count.
    """

    name: Literal['fda'] = 'fda'
    beta: float = 0.01
    lambda_entropy: float = 0.005
    eta: float = 2.0
    pseudo_teacher: str | tuple[str, ...] | None = None
    lambda_pseudo: float = 1.0
    pseudo_share: float = 0.66
    pseudo_threshold: float = 0.9

    @property
    def teacher(self) -> str | tuple[str, ...] | None:
        """Return what a run loads as the method's teacher."""
        return self.pseudo_teacher

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(0 <= self.beta <= 0.5, 'method.beta', self.beta, '0 to 0.5')
        for name in ('lambda_entropy', 'lambda_pseudo'):
            _require(getattr(self, name) >= 0, f'method.{name}', getattr(self, name), '>= 0')
        _require(self.eta > 0, 'method.eta', self.eta, 'above 0')
        _require(
            0 < self.pseudo_share <= 1, 'method.pseudo_share', self.pseudo_share,
            'above 0, at most 1')
        _require(
            0 < self.pseudo_threshold <= 1, 'method.pseudo_threshold', self.pseudo_threshold,
            'above 0, at most 1')


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """
    Masked image consistency (MIC, Hoyer et al. 2023), an option of self-training.

    :param lambda_masked: Weight of the loss on masked target images; 0 switches it off, 1 is
        the paper's.
    :param block_size: Side of the blocks, pixels of a crop.
    :param ratio: Probability that a block is hidden.
    """

    lambda_masked: float = 0.0
    block_size: int = 64
    ratio: float = 0.7

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(
            self.lambda_masked >= 0, 'method.masking.lambda_masked', self.lambda_masked,
            'at least 0')
        _require(
            self.block_size >= 1, 'method.masking.block_size', self.block_size, '1 or more')
        _require(0 <= self.ratio <= 1, 'method.masking.ratio', self.ratio, '0 to 1')


@dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig:
    """
    DACS (Tranheden et al. 2021): EMA teacher, ClassMix, confidence-weighted pseudo-labels.

    :param ema_decay: Decay of the teacher's moving average; ramped up as 1 - 1/(step + 1).
    :param confidence_threshold: A pseudo-label's image weighs as much as its share of pixels
        above this confidence.
    :param lambda_mixed: Weight of the loss on the mixed images.
    :param masking: Masked image consistency on top.
    """

    name: Literal['self_training'] = 'self_training'
    ema_decay: float = 0.999
    confidence_threshold: float = 0.968
    lambda_mixed: float = 1.0
    masking: MaskingConfig = field(default_factory=MaskingConfig)

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(0 <= self.ema_decay < 1, 'method.ema_decay', self.ema_decay, '0 to below 1')
        _require(
            0 < self.confidence_threshold < 1, 'method.confidence_threshold',
            self.confidence_threshold, 'between 0 and 1')
        _require(self.lambda_mixed >= 0, 'method.lambda_mixed', self.lambda_mixed, 'at least 0')


@dataclass(frozen=True, kw_only=True)
class AnchoredSelfTrainingConfig(SelfTrainingConfig):
    """
    Self-training of an adapted model, held in place by a fixed one: a robot's next round.

    :param teacher: Model directory of the fixed model, the anchor, or 'stage:NAME'.
    :param anchor_weight: Its share in the probabilities that pseudo-labels are taken from.
    """

    name: Literal['anchored_self_training'] = 'anchored_self_training'
    teacher: str = ''
    anchor_weight: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        _require(
            0 <= self.anchor_weight <= 1, 'method.anchor_weight', self.anchor_weight, '0 to 1')


@dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """
    Image-wise hard pixel mining. The paper's formula is not known to us: both are inferred.

    :param form: 'top_k' keeps the hardest pixels of each image, 'focal' weighs all by their
        hardness, 'none' weighs all equally.
    :param ratio: Share of an image's pixels that top_k keeps.
    :param min_pixels: top_k keeps at least this many.
    :param gamma: Power of focal's hardness.
    :param share: Part of the weight that mining decides; the rest is 1 for every pixel.
    """

    form: Literal['none', 'top_k', 'focal'] = 'focal'
    ratio: float = 0.3
    min_pixels: int = 256
    gamma: float = 1.0
    share: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(0 < self.ratio <= 1, 'method.mining.ratio', self.ratio, 'above 0, at most 1')
        _require(self.min_pixels >= 1, 'method.mining.min_pixels', self.min_pixels, '1 or more')
        _require(self.gamma >= 0, 'method.mining.gamma', self.gamma, 'at least 0')
        _require(0 <= self.share <= 1, 'method.mining.share', self.share, '0 to 1')


@dataclass(frozen=True, kw_only=True)
class BilateralDistillationConfig:
    """
    Bilateral Knowledge Distillation (Wang & Li 2022).

    The weights' published values are not known to us; each is a setting.

    :param teacher: Model directory of the fixed teacher, 'stage:NAME', or the YAML file of a
        teacher that was trained elsewhere; a list of several is averaged.
    :param temperature: T of the teacher's softmax.
    :param lambda_soft: Weight of the teacher's soft label on the source (lambda_s).
    :param lambda_target: Weight of target-flow distillation (lambda_t); 0 switches it off.
    :param lambda_entropy: Weight of the student's entropy on the target (lambda_e).
    :param source_flow: Train on the source at all.
    :param kl_direction: 'forward' is KL(teacher || student), 'reverse' the other way.
    :param teacher_view: What the teacher labels: 'frame' shows it each whole frame once, at the
        scale that networks are used at, and keeps its soft label in memory; 'crop' shows it the
        same crops as the student, in every step.
    :param teacher_flip: Average the teacher's soft label over the image and its mirror image.
    :param logit_adjustment: Power of post-hoc logit adjustment (Menon et al. 2021, equation 9) of
        the teacher's soft labels on the target, by its own mean share of each class there: gives
        small classes back what large ones take from them. 0 switches it off.
    :param cache_megabytes: Memory for the soft labels of whole frames (on the training's
        device); the frames that do not fit are labelled anew each time.
    :param confidence_cap: On the target a pixel's mining weight is multiplied by its teacher
        confidence to this power, since the hardest pixels are also the noisiest; this also
        lowers the target's weight as a whole where the teacher doubts. 0 is off.
    :param mining: Image-wise hard pixel mining.
    """

    name: Literal['bilateral_distillation'] = 'bilateral_distillation'
    teacher: str | tuple[str, ...] = ''
    temperature: float = 1.0
    lambda_soft: float = 0.5
    lambda_target: float = 1.0
    lambda_entropy: float = 0.05
    source_flow: bool = True
    kl_direction: Literal['forward', 'reverse'] = 'forward'
    teacher_view: Literal['frame', 'crop'] = 'frame'
    teacher_flip: bool = True
    logit_adjustment: float = 0.0
    cache_megabytes: int = 4000
    confidence_cap: float = 1.0
    mining: MiningConfig = field(default_factory=MiningConfig)

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require(self.temperature > 0, 'method.temperature', self.temperature, 'above 0')
        for name in (
                'lambda_soft', 'lambda_target', 'lambda_entropy', 'confidence_cap',
                'logit_adjustment', 'cache_megabytes'):
            _require(getattr(self, name) >= 0, f'method.{name}', getattr(self, name), '>= 0')
        _require(
            self.source_flow or self.lambda_target > 0, 'method.source_flow', False,
            'true, or lambda_target above 0: else nothing is learnt')


MethodConfig = Union[
    SourceOnlyConfig, MaxSquareConfig, FourierDomainAdaptationConfig, SelfTrainingConfig,
    AnchoredSelfTrainingConfig, BilateralDistillationConfig]
METHOD_CONFIGS = {
    'source_only': SourceOnlyConfig,
    'max_square': MaxSquareConfig,
    'fda': FourierDomainAdaptationConfig,
    'self_training': SelfTrainingConfig,
    'anchored_self_training': AnchoredSelfTrainingConfig,
    'bilateral_distillation': BilateralDistillationConfig,
}


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
        _require(
            self.temperature >= 0, 'rare_class_sampling.temperature', self.temperature,
            'at least 0')
        for name in ('min_share', 'min_crop_share'):
            value = getattr(self, name)
            _require(0 <= value < 1, f'rare_class_sampling.{name}', value, '0 to below 1')


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
            _require(value >= 1, f'records.{name}', value, 'at least 1')
        for name in ('pictures_steps', 'validation_steps', 'validation_frames'):
            value = getattr(self, name)
            _require(value >= 0, f'records.{name}', value, 'at least 0')


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """
    One training run.

    :param label_space: Label space of the network; the data sets' labels are mapped into it.
    :param source: Labelled images.
    :param target: Images whose labels are never read.
    :param validation: Labelled images of the target domain, for measuring only.
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
    :param data_licences: Text for the model card: whose data this is and under which licence.
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
            _require(getattr(self, name) >= 1, name, getattr(self, name), 'at least 1')
        _require(
            self.batch_size % self.gradient_accumulation_steps == 0,
            'gradient_accumulation_steps', self.gradient_accumulation_steps,
            f'a divisor of batch_size, {self.batch_size}')
        _require(self.loss_stride in (1, 2, 4), 'loss_stride', self.loss_stride, '1, 2 or 4')
        _require(self.num_workers >= 0, 'num_workers', self.num_workers, 'at least 0')
        _require(self.seed >= 0, 'seed', self.seed, 'at least 0')
