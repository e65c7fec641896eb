# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the methods: dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Union

from bkd_core.errors import require


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
            require(getattr(self, name) >= 0, f'method.{name}', getattr(self, name), '>= 0')
        require(0 <= self.alpha <= 1, 'method.alpha', self.alpha, '0 to 1')
        require(
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
        require(0 <= self.beta <= 0.5, 'method.beta', self.beta, '0 to 0.5')
        for name in ('lambda_entropy', 'lambda_pseudo'):
            require(getattr(self, name) >= 0, f'method.{name}', getattr(self, name), '>= 0')
        require(self.eta > 0, 'method.eta', self.eta, 'above 0')
        require(
            0 < self.pseudo_share <= 1, 'method.pseudo_share', self.pseudo_share,
            'above 0, at most 1')
        require(
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
        require(
            self.lambda_masked >= 0, 'method.masking.lambda_masked', self.lambda_masked,
            'at least 0')
        require(
            self.block_size >= 1, 'method.masking.block_size', self.block_size, '1 or more')
        require(0 <= self.ratio <= 1, 'method.masking.ratio', self.ratio, '0 to 1')


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
        require(0 <= self.ema_decay < 1, 'method.ema_decay', self.ema_decay, '0 to below 1')
        require(
            0 < self.confidence_threshold < 1, 'method.confidence_threshold',
            self.confidence_threshold, 'between 0 and 1')
        require(self.lambda_mixed >= 0, 'method.lambda_mixed', self.lambda_mixed, 'at least 0')


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
        require(
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
        require(0 < self.ratio <= 1, 'method.mining.ratio', self.ratio, 'above 0, at most 1')
        require(self.min_pixels >= 1, 'method.mining.min_pixels', self.min_pixels, '1 or more')
        require(self.gamma >= 0, 'method.mining.gamma', self.gamma, 'at least 0')
        require(0 <= self.share <= 1, 'method.mining.share', self.share, '0 to 1')


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
        require(self.temperature > 0, 'method.temperature', self.temperature, 'above 0')
        for name in (
                'lambda_soft', 'lambda_target', 'lambda_entropy', 'confidence_cap',
                'logit_adjustment', 'cache_megabytes'):
            require(getattr(self, name) >= 0, f'method.{name}', getattr(self, name), '>= 0')
        require(
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
