# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Plain entropy minimisation beside the rounds: TENT, written as its paper has it.

Wang et al. 2021, ICLR, "Tent: Fully Test-Time Adaptation by Entropy Minimization",
https://arxiv.org/abs/2006.10726. On each target frame, in the order of time, one step lowers the
mean entropy of the network's own prediction. Only scale and shift of the normalisation layers
are learnt; their statistics are those of the frame itself. There is no source, no teacher, no
labels and no gate. Adam with a rate of 1e-3 and beta_1 0.9 is what the authors' code does by
default; a batch is one frame, as a robot has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import time

from bkd_core import atomic
from bkd_core.benchmarks.online.journal import Journal
from bkd_core.benchmarks.online.world import score_labelled, World
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.open_dataset import open_dataset
from bkd_core.inference.segmenter import resize_frame, Segmentation
from bkd_core.losses import entropy, log_probabilities
from bkd_core.model_directory import ModelSpec, read_spec
from bkd_core.models import load_network
from bkd_core.progress import progress_bar
import numpy as np
from safetensors.torch import load_file, save
import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class Tent:
    """
    A network that lowers its own entropy on what it sees.

    :param network: Normalised images -> logits; it is changed.
    :param spec: Its description.
    :param learning_rate: Of Adam.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, *, learning_rate: float) -> None:
        self.network = network.eval().requires_grad_(False)
        self.spec = spec
        self.label_space = spec.label_space
        layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        for layer in layers:
            # Without running statistics a layer takes those of its input, in evaluation too.
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = None
            layer.requires_grad_(True)
        self.parameters = [weight for layer in layers for weight in (layer.weight, layer.bias)]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate, betas=(0.9, 0.999))

    def adapt(self, frame: np.ndarray) -> float:
        """
        Make one step on a frame.

        :param frame: (H, W, 3) uint8 RGB.
        :return: The mean entropy before the step, nats.
        """
        loss = entropy(log_probabilities(self.network(self._images(frame)))).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def __call__(self, frame: np.ndarray) -> Segmentation:
        """
        Segment a frame, without a step.

        :param frame: (H, W, 3) uint8 RGB.
        """
        log_p = log_probabilities(self.network(self._images(frame)))
        uncertainty = entropy(log_p).mean().item()
        sized = functional.interpolate(log_p, size=frame.shape[:2], mode='bilinear').exp()
        confidence, labels = sized[0].max(0)
        return Segmentation(
            labels=labels.byte().numpy(), confidence=(255 * confidence).round().byte().numpy(),
            mean_entropy=uncertainty, mean_confidence=log_p.max(1).values.exp().mean().item(),
            mean_logits=log_p[0].mean((1, 2)).numpy())

    def state(self) -> dict[str, Tensor]:
        """Return all that steps change: what is learnt and the optimizer's averages of it."""
        values = {}
        for number, weight in enumerate(self.parameters):
            values[f'{number}.weight'] = weight.detach()
            for name, value in self.optimizer.state.get(weight, {}).items():
                values[f'{number}.{name}'] = value
        return values

    def restore(self, values: dict[str, Tensor]) -> None:
        """
        Go on from what `state` returned.

        :param values: Its values.
        """
        for number, weight in enumerate(self.parameters):
            weight.data.copy_(values[f'{number}.weight'])
            self.optimizer.state[weight] = {
                name: values[f'{number}.{name}']
                for name in ('step', 'exp_avg', 'exp_avg_sq') if f'{number}.{name}' in values}

    def _images(self, frame: np.ndarray) -> Tensor:
        image = resize_frame(frame, self.spec).astype(np.float32)
        image = (image - np.float32(self.spec.mean)) / np.float32(self.spec.std)
        return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()


@dataclass(frozen=True, kw_only=True)
class TentRun:
    """
    Passes of TENT over a target.

    :param world: What it adapts to.
    :param target: Name of the target.
    :param num_rounds: Passes.
    :param learning_rate: Of Adam.
    :param seed: Of the start.
    :param run: Name of the run; its last part is a hash of what the start and the data are.
    """

    world: World
    target: str
    num_rounds: int
    learning_rate: float
    seed: int
    run: str

    @property
    def variant(self) -> str:
        """Return its name in tables."""
        return f'TENT, rate {self.learning_rate:g}'


def run_tent(
    wanted: TentRun, journal: Journal, *, start: Path, output: Path, data_root: Path | None,
) -> None:
    """
    Make the passes that are not made yet; each gets a line.

    :param wanted: The passes.
    :param journal: The record.
    :param start: Model directory of the source-only student.
    :param output: Folder of what was reached.
    :param data_root: Folder that the data sets' roots are relative to.
    """
    tent = Tent(load_network(start), read_spec(start), learning_rate=wanted.learning_rate)
    target = open_dataset(wanted.world.targets[wanted.target], data_root)
    scored = {
        name: open_dataset(data, data_root) for name, data in wanted.world.scored.items()}
    folder = output / wanted.run
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(wanted.num_rounds + 1):
        file = folder / f'{number:03d}.safetensors'
        began = time.perf_counter()
        if file.exists():
            tent.restore(load_file(file))
        else:
            if number:
                _pass(tent, target, f'{wanted.variant}: round {number}')
            atomic.write_bytes(file, save(tent.state()))
        if journal.has(wanted.run, number):
            continue
        seconds = time.perf_counter() - began
        scores = {name: score_labelled(tent, data) for name, data in scored.items()}
        journal.add(
            kind='round', run=wanted.run, number=number, world=wanted.world.name,
            variant=wanted.variant, seed=wanted.seed, target=wanted.target if number else None,
            miou={name: score.miou for name, score in scores.items()},
            sure_right={name: score.sure_right for name, score in scores.items()},
            is_accepted=None, reason='', memory_kept=None, seconds=round(seconds, 1))


def _pass(tent: Tent, target: SegmentationDataset, what: str) -> None:
    with progress_bar(what, len(target)) as advance:
        for index in range(len(target)):
            loss = tent.adapt(target.image(index))
            advance(index + 1, f'entropy {loss:.3f}')
