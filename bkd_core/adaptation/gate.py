# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The gate: scores of the student in use and of a new one in, a decision out.

No student is used because it is new. It must keep what it knew (labelled replay), be better on
held-back target frames by scores that need no labels, and not have collapsed, which is how a
network gets good scores without labels cheaply. A score that can't be computed refuses it.

The teacher is not judged. A student that is accepted though it is worse has followed a teacher
that is worse on the target, but the teacher's score on the labelled replay does not tell. In 450
rounds of a tiny network, to ask that it is at most `max_replay_drop` below the student in use
would have prevented 5 of 9 such students, and cost 17 of 58 good ones. On CamVid students pass
their teachers: from the second round on (five were measured) the teacher was 2 to 7 points below
the student in use on the target and 1.5 to 3.5 on the replay, furthest where the new student was
better.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import math
from typing import Any, Sequence

from bkd_core.adaptation.bootstrap import bootstrap_gain
from bkd_core.errors import InputError
import numpy as np

SCORES_WITHOUT_LABELS = ('agreement', 'consistency', 'flicker')


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """
    What a student must fulfil to be accepted; shares and mIoU from 0 to 1.

    The thresholds are choices, with the reason given.

    :param max_replay_drop: mIoU that it may lose on the held-back replay frames. They are few
        (16 of 64), and the student in use may have been trained on them while the new one was
        not, so a strict 0 would refuse too much.
    :param max_label_free_loss: How much worse any single one of agreement, consistency and
        flicker may get, so that one score may stand still while the others rise.
    :param min_label_free_gain: What the three must gain together (flicker counts negatively):
        as much as a single one may lose. Above 0, an unchanged student is no better one; how
        far above was learned from CamVid's repeated rounds with the seeds 0 to 2: swaps of
        0.002 to 0.009 were chance, and one after the other cost a point of mIoU. The seeds
        from 3 on, in docs/results/online.md, had no part in it.
    :param min_class_diversity: The effective number of classes, exp(entropy of the class
        shares), relative to that of the student in use. A scene does not change within the same
        held-back frames: a third less is a collapse, not a correction.
    :param min_class_share: A class with at least this share of the pixels must not be lost. To
        give up a class can make a student agree more with its teacher and itself: with 0.2 the
        gate would have accepted 25 of 118 worse students of a tiny network, with 0.01 it does 9,
        and 68 and 58 of 265 better ones.
    :param lost_class_fraction: It counts as lost below this fraction of its share before.
    :param min_entropy_ratio: Mean entropy relative to the student in use. Adaptation makes a
        network surer, and distillation asks for it; a tenth of the entropy is certainty about
        everything.
    :param max_memory_drop: Share of what the student in use was sure of on frames of earlier
        domains that may get another label. If 19 of 20 such pixels were right, more than a
        tenth is a loss for certain: at best the wrong twentieth is mended, and more right
        pixels than that are ruined. Were fewer of them right, a tenth would be too strict.
    :param min_labelled_frames: Fewer labelled target frames than this say nothing; more are
        used if they are given.
    :param min_confidence: Probability, by bootstrap over the labelled target frames, with which
        the new student must be the better one.
    :param num_resamples: Resamples of the bootstrap: the confidence is then known to a point.
    :param bootstrap_seed: Of the resampling.
    """

    max_replay_drop: float = 0.02
    max_label_free_loss: float = 0.01
    min_label_free_gain: float = 0.01
    min_class_diversity: float = 0.67
    min_class_share: float = 0.01
    lost_class_fraction: float = 0.1
    min_entropy_ratio: float = 0.1
    max_memory_drop: float = 0.1
    min_labelled_frames: int = 5
    min_confidence: float = 0.9
    num_resamples: int = 2000
    bootstrap_seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, value in asdict(self).items():
            low, high = (0, math.inf) if isinstance(value, int) else (0, 1)
            if name in ('min_labelled_frames', 'num_resamples'):
                low = 2
            if not low <= value <= high:
                raise InputError(f'gate.{name}: got {value!r}; expected {low} to {high}')


@dataclass(frozen=True, kw_only=True)
class StudentScores:
    """
    What was measured of one student. NaN where a score could not be computed.

    :param replay_miou: mIoU on the held-back labelled replay frames, 0 to 1.
    :param agreement: Share of the held-back target's pixels labelled like the teacher.
    :param consistency: Share of them labelled alike in a changed view of the frame.
    :param flicker: Share of them whose label changes from a frame to the next.
    :param mean_entropy: Mean entropy on the held-back target frames, nats.
    :param class_shares: Share of the held-back target's pixels that each class got.
    :param num_frames: Held-back target frames.
    :param memory_kept: Share of the pixels that the student in use was sure of, on held-back
        frames of earlier domains, that got the same label; None without such frames.
    :param labelled_counts: (N, C, C + 1) int64, a confusion matrix for each of N labelled target
        frames; None if none are given.
    """

    replay_miou: float
    agreement: float
    consistency: float
    flicker: float
    mean_entropy: float
    class_shares: tuple[float, ...]
    num_frames: int
    memory_kept: float | None = None
    labelled_counts: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """
    One thing that a student must fulfil.

    :param name: Its name, the same in every report.
    :param value: What was measured; NaN if it could not be.
    :param bound: 'at most' or 'at least'.
    :param threshold: What it is compared with.
    :param is_met: Whether it holds.
    :param sentence: The same for people, with the numbers before and after.
    """

    name: str
    value: float
    bound: str
    threshold: float
    is_met: bool
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None stands for a value that is not finite."""
        return {**asdict(self), 'value': self.value if math.isfinite(self.value) else None}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """
    Whether a student may be used, and why.

    :param is_accepted: All criteria are met.
    :param criteria: All that were looked at, met or not.
    """

    is_accepted: bool
    criteria: tuple[Criterion, ...]

    @property
    def reason(self) -> str:
        """Return the sentences of what was not met, or of all if everything was."""
        decisive = [item for item in self.criteria if self.is_accepted or not item.is_met]
        return ' '.join(item.sentence for item in decisive)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            'is_accepted': self.is_accepted, 'reason': self.reason,
            'criteria': [item.to_dict() for item in self.criteria]}


def decide(
    before: StudentScores, after: StudentScores, settings: GateSettings, *,
    class_names: Sequence[str],
) -> Decision:
    """
    Decide whether a new student may take the place of the one in use.

    :param before: The student in use.
    :param after: The new one, measured on the same frames with the same teacher.
    :param settings: The thresholds.
    :param class_names: Names of the classes, for the sentences.
    :raises ValueError: If the two were not measured on the same things.
    """
    _require_same_measurement(before, after, len(class_names))
    criteria = [
        _replay(before, after, settings),
        *_scores_without_labels(before, after, settings),
        _diversity(before, after, settings),
        _lost_classes(before, after, settings, class_names),
        _entropy(before, after, settings)]
    if after.memory_kept is not None:
        criteria.append(_memory(after.memory_kept, settings))
    if before.labelled_counts is not None:
        criteria.append(_labelled(before.labelled_counts, after.labelled_counts, settings))
    return Decision(
        is_accepted=all(item.is_met for item in criteria), criteria=tuple(criteria))


def _replay(before: StudentScores, after: StudentScores, settings: GateSettings) -> Criterion:
    return _criterion(
        'replay_drop', before.replay_miou - after.replay_miou, 'at most',
        settings.max_replay_drop,
        f'Mean IoU on the labelled replay {_change(before.replay_miou, after.replay_miou)}')


def _scores_without_labels(
    before: StudentScores, after: StudentScores, settings: GateSettings,
) -> list[Criterion]:
    losses = {
        name: (getattr(after, name) - getattr(before, name)) * (1 if name == 'flicker' else -1)
        for name in SCORES_WITHOUT_LABELS}
    titles = {
        'agreement': 'Agreement with the teacher', 'flicker': 'Flicker',
        'consistency': 'Agreement with itself in a changed view'}
    single = [
        _criterion(
            f'{name}_loss', loss, 'at most', settings.max_label_free_loss,
            f'{titles[name]} {_change(getattr(before, name), getattr(after, name))}')
        for name, loss in losses.items()]
    gain = -sum(losses.values())
    return [*single, _criterion(
        'label_free_gain', gain, 'at least', settings.min_label_free_gain,
        f'The three scores without labels gain {100 * gain:.1f} points together')]


def _diversity(before: StudentScores, after: StudentScores, settings: GateSettings) -> Criterion:
    numbers = [effective_classes(scores.class_shares) for scores in (before, after)]
    return _criterion(
        'class_diversity', _ratio(numbers[1], numbers[0]), 'at least',
        settings.min_class_diversity,
        f'Effective number of classes {numbers[0]:.2f} -> {numbers[1]:.2f}')


def _lost_classes(
    before: StudentScores, after: StudentScores, settings: GateSettings, names: Sequence[str],
) -> Criterion:
    shares = np.array(before.class_shares), np.array(after.class_shares)
    is_lost = (shares[0] >= settings.min_class_share) & (
        shares[1] < settings.lost_class_fraction * shares[0])
    lost = [name for name, lost in zip(names, is_lost) if lost]
    is_known = bool(np.isfinite(shares).all())
    return _criterion(
        'lost_classes', float(len(lost)) if is_known else math.nan, 'at most', 0,
        f'Classes lost: {", ".join(lost) or "none"}')


def _entropy(before: StudentScores, after: StudentScores, settings: GateSettings) -> Criterion:
    return _criterion(
        'entropy_ratio', _ratio(after.mean_entropy, before.mean_entropy), 'at least',
        settings.min_entropy_ratio,
        f'Mean entropy {before.mean_entropy:.3f} -> {after.mean_entropy:.3f} nats')


def _memory(kept: float, settings: GateSettings) -> Criterion:
    return _criterion(
        'memory_drop', 1 - kept, 'at most', settings.max_memory_drop,
        f'Of what the student in use was sure of on frames of earlier domains, {100 * kept:.1f} % '
        'keeps its label')


def _labelled(before: np.ndarray, after: np.ndarray, settings: GateSettings) -> Criterion:
    count = len(before)
    if count < settings.min_labelled_frames:
        return _criterion(
            'labelled_confidence', math.nan, 'at least', settings.min_confidence,
            f'Mean IoU on {count} labelled target frames (at least '
            f'{settings.min_labelled_frames} are needed)')
    gain = bootstrap_gain(
        before, after, num_resamples=settings.num_resamples, seed=settings.bootstrap_seed)
    return _criterion(
        'labelled_confidence', gain.confidence, 'at least', settings.min_confidence,
        f'Mean IoU on {count} labelled target frames {_change(gain.before, gain.after)}, better '
        f'with a confidence of {100 * gain.confidence:.0f} % (90 % of the resamples gain '
        f'{100 * gain.low:.1f} to {100 * gain.high:.1f} points)')


def effective_classes(shares: Sequence[float]) -> float:
    """
    Return exp(entropy) of class shares: 1 if one class has all, C if all C have the same.

    :param shares: Non-negative, with the sum 1.
    :return: From 1 to the number of classes; NaN if a share is NaN.
    """
    positive = np.array([share for share in shares if share != 0])
    return float(np.exp(-(positive * np.log(positive)).sum()))


def _criterion(
    name: str, value: float, bound: str, threshold: float, text: str,
) -> Criterion:
    if not math.isfinite(value):
        is_met, verdict = False, 'it cannot be computed, which is a refusal'
    else:
        is_met = value <= threshold if bound == 'at most' else value >= threshold
        verdict = f'{_short(value)}, {"" if is_met else "not "}{bound} {_short(threshold)}'
    return Criterion(
        name=name, value=value, bound=bound, threshold=threshold, is_met=is_met,
        sentence=f'{text} ({name.replace("_", " ")}: {verdict}).')


def _ratio(value: float, base: float) -> float:
    return value / base if base > 0 else math.nan


def _change(before: float, after: float) -> str:
    return f'{100 * before:.1f} -> {100 * after:.1f} %'


def _short(value: float) -> str:
    return f'{round(value, 4) + 0.0:.4f}'.rstrip('0').rstrip('.')  # no minus before a zero


def _require_same_measurement(
    before: StudentScores, after: StudentScores, num_classes: int,
) -> None:
    counts = [scores.labelled_counts for scores in (before, after)]
    shapes = [None if count is None else count.shape for count in counts]
    lengths = {len(before.class_shares), len(after.class_shares), num_classes}
    if shapes[0] != shapes[1] or before.num_frames != after.num_frames or len(lengths) != 1:
        raise ValueError(
            f'the two students were measured on different things: labelled frames {shapes}, '
            f'frames {before.num_frames} and {after.num_frames}, classes {sorted(lengths)}')
