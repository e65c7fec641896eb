# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bkd_core.commands.options import refuse_options
import tyro


@dataclass(frozen=True, kw_only=True)
class Predict:
    """
    Label an image, a folder of images, a video or a rosbag.

    Writes NAME.png with the class ids (255 is not used by a prediction) and, with --overlay,
    NAME_overlay.jpg. Frames of a rosbag are named by their stamp in nanoseconds.

    For example:

        bkd predict default photo.jpg --overlay
        bkd predict runs/streets/student recordings/drive --topic /camera/image_raw
        bkd predict default street.mp4 --output labels
    """

    model: Annotated[str, tyro.conf.Positional]
    """Model directory, or 'default' for the student that comes with the package."""
    input: Annotated[Path, tyro.conf.Positional]
    """Image, folder, video, or rosbag (rosbag2 folder, .mcap, .db3, .bag)."""
    output: Path = Path('predictions')
    """Folder for the labels."""
    topic: str | None = None
    """Image topic of a rosbag; needed if it holds several."""
    overlay: bool = False
    """Also write pictures of the frame under the coloured labels."""
    runtime: str = 'auto'
    """auto (the fastest that is installed), onnxruntime, openvino, openvino_bf16, tensorrt,
    tensorrt_half, torch, torch_half, torch_compile, or after 'bkd export' onnxruntime_int8 or
    openvino_int8."""

    def run(self, overrides: list[str]) -> None:
        """
        Label.

        :param overrides: Must be empty.
        """
        refuse_options(self, overrides)
        from bkd_core.inference import Segmenter
        from bkd_core.inference.predict import predict
        segmenter = Segmenter.load(self.model, runtime=self.runtime)
        count = predict(
            segmenter, self.input, output=self.output, topic=self.topic, overlay=self.overlay)
        print(f'{count} frames labelled in {self.output} (label space '
              f'{segmenter.label_space.name}: {", ".join(segmenter.label_space.classes)})')
