# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""DeepLabv3 on ResNet-101 by torchvision: the teacher's network where there is a GPU."""

from __future__ import annotations

from bkd_core.errors import InputError
from bkd_core.models.pretrained_files import download, read_state
from bkd_core.models.torchvision_guard import ensure_torchvision_imports
from torch import nn, Tensor


class DeepLabResNet101(nn.Module):
    """
    DeepLabv3 (Chen et al. 2017, arXiv:1706.05587), output stride 8, 58.6 M parameters.

    The auxiliary head (2.4 M more) is torchvision's: a small FCN on `layer3`. `forward` leaves
    it out, so only methods that ask for both levels train it.

    :param num_classes: Channels of the logits.
    :param pretrained: Start the trunk from ImageNet weights: `weights` if it is given, else
        torchvision's own download, which needs a network connection once.
    :param weights: Path of a ResNet-101 state dict in torchvision's names.
    :param auxiliary: Add the auxiliary head.
    """

    size_multiple = 32

    def __init__(
        self, num_classes: int, *, pretrained: bool = True, weights: str | None = None,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        ensure_torchvision_imports()
        from torchvision.models import ResNet101_Weights
        from torchvision.models.segmentation import deeplabv3_resnet101
        state = None
        if pretrained:
            state = (
                read_state(weights) if weights else download(
                    'deeplab_resnet101', ResNet101_Weights.IMAGENET1K_V2.get_state_dict))
        network = deeplabv3_resnet101(
            weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=auxiliary)
        if state is not None:
            trunk = {name: value for name, value in state.items() if not name.startswith('fc.')}
            try:
                network.backbone.load_state_dict(trunk)
            except RuntimeError as error:
                raise InputError(
                    f"network_options.weights: '{weights}' is no ResNet-101 in torchvision's "
                    'names') from error
        self.backbone = network.backbone
        self.classifier = network.classifier
        self.aux_classifier = network.aux_classifier

    @property
    def has_levels(self) -> bool:
        """Tell whether there is an auxiliary head."""
        return self.aux_classifier is not None

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits.

        :param images: (B, 3, H, W), normalised; B is at least 2 in training.
        :return: (B, C, H/8, W/8).
        """
        return self.classifier(self._features(images)['out'])

    def forward_levels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return logits and the auxiliary head's.

        :param images: (B, 3, H, W), normalised; B is at least 2 in training.
        :return: Twice (B, C, H/8, W/8).
        :raises InputError: If the network was built without an auxiliary head.
        """
        if not self.has_levels:
            raise InputError(
                'network_options.auxiliary: this deeplab_resnet101 was built without an '
                'auxiliary head; set it to true')
        features = self._features(images)
        return self.classifier(features['out']), self.aux_classifier(features['aux'])

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        if self.training and len(images) == 1:
            raise InputError(
                'batch_size: deeplab_resnet101 normalises over the images of a step, so it '
                'needs at least 2 to train; got 1')
        return self.backbone(images)
