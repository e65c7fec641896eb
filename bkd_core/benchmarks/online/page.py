# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of the benchmark of adaptation rounds, from its lines."""

from __future__ import annotations

from pathlib import Path
import statistics
from typing import Any, Sequence

from bkd_core import atomic
from bkd_core.benchmarks.frame_quality import table
from bkd_core.benchmarks.online.budget import Budget
from bkd_core.benchmarks.online.chain import Chain
from bkd_core.benchmarks.online.chart import draw_rounds
from bkd_core.benchmarks.online.faults import FAULTS, GOOD
from bkd_core.benchmarks.online.journal import Journal
from bkd_core.benchmarks.online.plan import continual_chain, long_chain, tent_passes
from bkd_core.benchmarks.online.rate_page import rate_section
from bkd_core.benchmarks.online.trial import LABELLED_FRAMES, trials_run

PAGE = 'online.md'
# What is asked of the rounds, in points of mIoU and in trials of twenty.
MIN_GAIN, MAX_BELOW_BEST, MAX_FORGOTTEN = 5.0, 1.0, 1.5
MIN_REFUSED, MIN_ACCEPTED = 0.95, 0.8
Line = dict[str, Any]


def write_page(results: Path, journal: Journal, budget: Budget) -> Path:
    """
    Write page and charts.

    :param results: Their folder.
    :param journal: The lines.
    :param budget: What they were made with; lines of other settings are left out.
    :return: The page.
    """
    results.mkdir(parents=True, exist_ok=True)
    lines = journal.lines()
    seeds = sorted({line['seed'] for line in lines if line['kind'] == 'round'})
    parts = [
        *_one_round(lines, budget, seeds), *_long(lines, budget, seeds, results, journal.budget),
        *_gate(lines, budget), *_continual(lines, budget, seeds, results, journal.budget),
        *rate_section(lines, budget.rate)]
    commits = sorted({line['commit'] for line in lines})
    text = [
        '# Adaptation rounds', '',
        'Written by `bkd benchmark online` from `online.jsonl`; do not edit. mIoU in percent, '
        'through the exported network, of the version in use after a round. Labels are read '
        f'for these scores alone. Budget {journal.budget}. Commit: {", ".join(commits)}.', '',
        *parts]
    atomic.write_text(results / PAGE, '\n'.join(text).rstrip() + '\n')
    return results / PAGE


def of_run(lines: Sequence[Line], run: str) -> list[Line]:
    """
    Return a run's lines by their numbers.

    :param lines: All lines.
    :param run: Its name.
    """
    return sorted((line for line in lines if line['run'] == run), key=lambda line: line['number'])


def below_best(values: Sequence[float]) -> float:
    """
    Return by how much a value lies below the best one before it, at most; 0 if none does.

    :param values: In the order of time, at least one.
    """
    return max(max(values[:end]) - values[end - 1] for end in range(1, len(values) + 1))


def _one_round(lines: list[Line], budget: Budget, seeds: Sequence[int]) -> list[str]:
    rows, gains = [], []
    for seed in seeds:
        chain = long_chain(budget, 1, seed)
        pair = of_run(lines, chain.run)[:2]
        if len(pair) == 2:
            before, after = (100 * line['miou'][chain.targets[0]] for line in pair)
            gains.append(after - before)
            rows.append([
                str(seed), f'{before:.1f}', f'{after:.1f}', f'{after - before:+.1f}',
                'accepted' if pair[1]['is_accepted'] else 'refused',
                f'{pair[1]["seconds"] / 60:.1f}'])
    if not rows:
        return []
    world = budget.worlds['camvid']
    mean = statistics.fmean(gains)
    return [
        '## One round', '',
        f'From a source-only student of `{world.start.source.root or world.start.source.name}` '
        f'to a recording of {_described(world.credit, world.targets)}, in '
        f'{budget.settings["camvid"].teacher_steps} steps of the teacher and '
        f'{budget.settings["camvid"].student_steps} of the student.', '',
        *table(['seed', 'source-only', 'after one round', 'gain', 'gate', 'minutes'], rows), '',
        f'Mean gain {mean:+.1f} points; at least {MIN_GAIN:g} are asked for: '
        f'{_verdict(mean >= MIN_GAIN)}.', '']


def _long(
    lines: list[Line], budget: Budget, seeds: Sequence[int], results: Path, name: str,
) -> list[str]:
    rows, curves, drops = [], {}, []
    for seed in seeds:
        chain = long_chain(budget, budget.num_rounds, seed)
        runs = {chain.variant: chain.run, **{
            tent.variant: tent.run
            for rate in budget.tent_rates for tent in [tent_passes(budget, rate, seed)]}}
        for variant, run in runs.items():
            known = of_run(lines, run)
            if len(known) < 3:  # one round has its own section
                continue
            values = [100 * line['miou'][chain.targets[0]] for line in known]
            curves.setdefault(variant, []).append(list(enumerate(values)))
            drops += [below_best(values)] if variant == chain.variant else []
            rows.append([
                variant, str(seed), *(f'{value:.1f}' for value in values),
                *['-'] * (budget.num_rounds + 1 - len(values)), f'{below_best(values):.1f}'])
    if not rows:
        return []
    chart = f'online_rounds_{name}.svg'
    ticks = [str(number) for number in range(budget.num_rounds + 1)]
    atomic.write_text(results / chart, draw_rounds(
        'Rounds on one target, and plain entropy minimisation', curves, ticks=ticks))
    verdict = [
        f'The rounds lie at most {max(drops):.1f} points below the best before; at most '
        f'{MAX_BELOW_BEST:g} is asked for: {_verdict(max(drops) <= MAX_BELOW_BEST)}.', '',
    ] if drops else []
    return [
        '## Rounds in a row on one target', '',
        'TENT: plain entropy minimisation (Wang et al. 2021), one step a frame, as many passes '
        'over the recording as there are rounds. The least gain that the gate asks for was chosen '
        'with rounds of the seeds 0 to 2 (`GateSettings`); other seeds had no part in it.', '',
        *table(['', 'seed', 'start', *ticks[1:], 'below the best'], rows), '', *verdict,
        f'![mIoU from round to round]({chart})', '']


def _gate(lines: list[Line], budget: Budget) -> list[str]:
    known = of_run(lines, trials_run(budget))
    if not known:
        return []
    rows = [_trial_row(kind, [line for line in known if line['fault'] == kind])
            for kind in (GOOD, *FAULTS)]
    faults = [line for line in known if line['fault'] != GOOD]
    good = [line for line in known if line['fault'] == GOOD]
    verdicts = []
    for key, words in (('is_refused_without_labels', 'Without labelled frames'),
                       ('is_refused', f'With {LABELLED_FRAMES} labelled frames')):
        refused = sum(line[key] for line in faults)
        accepted = sum(not line[key] for line in good)
        holds = (
            refused >= MIN_REFUSED * len(faults) and accepted >= MIN_ACCEPTED * len(good))
        verdicts.append(
            f'{words} the gate refuses {refused} of {len(faults)} sabotaged rounds and accepts '
            f'{accepted} of {len(good)} good ones; {100 * MIN_REFUSED:g} % and '
            f'{100 * MIN_ACCEPTED:g} % are asked for: {_verdict(holds)}.')
    height, width = budget.gate_size
    return [
        '## The gate', '',
        f'Rounds from source-only students of {budget.gate_start.steps} steps, so few that a '
        f'round has something to gain, to generated streets of {width} x {height} pixels, each '
        'on another drive. The change of mIoU is measured on other frames of the drive, which '
        'nothing else sees.', '',
        *table(['round', 'rounds', 'refused without labels',
                f'refused with {LABELLED_FRAMES} labelled frames', 'of them without a student',
                'mean change of mIoU', 'lowest', 'highest'], rows), '', *verdicts, '']


def _trial_row(kind: str, lines: Sequence[Line]) -> list[str]:
    changes = [
        100 * (line['miou_after'] - line['miou_before']) for line in lines
        if line['miou_after'] is not None]
    numbers = [statistics.fmean(changes), min(changes), max(changes)] if changes else []
    return [
        kind, str(len(lines)), str(sum(line['is_refused_without_labels'] for line in lines)),
        str(sum(line['is_refused'] for line in lines)),
        str(sum(bool(line['error']) for line in lines)),
        *(f'{value:+.1f}' for value in numbers), *['-'] * (3 - len(numbers))]


def _continual(
    lines: list[Line], budget: Budget, seeds: Sequence[int], results: Path, name: str,
) -> list[str]:
    text = []
    for world in ('streets', 'camvid'):
        chains = [
            continual_chain(budget, world, memory, seed)
            for memory in (budget.memory_frames, 0) for seed in seeds]
        known = [(chain, of_run(lines, chain.run)) for chain in chains]
        known = [(chain, own) for chain, own in known if len(own) > 1]
        if known:
            text += _one_world(world, known, results, name)
    if not text:
        return []
    return [
        '## One target after the other', '',
        f'With memory: {budget.memory_frames} frames travel with a version. mIoU on every '
        'target after each round; what counts is the first target. *Kept*: of what the version '
        'in use was sure of (a probability of at least 0.9) on held-back frames of earlier '
        'targets, the share that kept its label in the last round.', '', *text]


def _one_world(
    world: str, known: Sequence[tuple[Chain, list[Line]]], results: Path, name: str,
) -> list[str]:
    targets = known[0][0].targets
    first = targets[0]
    rows, curves, forgotten = [], {}, {}
    for chain, own in known:
        scores = [100 * line['miou'][first] for line in own]
        curves.setdefault(chain.variant, []).append(list(enumerate(scores)))
        # Before its own round the first target has nothing to forget.
        forgotten.setdefault(chain.variant, []).append(below_best(scores[1:]))
        for scored in own[0]['miou']:
            values = [100 * line['miou'][scored] for line in own]
            rows.append([
                chain.variant, str(chain.seed), scored, *(f'{value:.1f}' for value in values),
                *['-'] * (len(targets) + 1 - len(values)),
                f'{below_best(values[1:]):.1f}' if scored == first else ''])
    chart = f'online_{world}_{name}.svg'
    ticks = ['start', *(f'{number}: {target}' for number, target in enumerate(targets, 1))]
    atomic.write_text(results / chart, draw_rounds(
        f'{world}: mIoU on {first} from round to round', curves, ticks=ticks))
    gate = [
        f'{chain.variant}, seed {chain.seed}: ' + ', '.join(
            f'{line["target"]} {"accepted" if line["is_accepted"] else "refused"}'
            + ('' if line['memory_kept'] is None else f' (kept {100 * line["memory_kept"]:.0f} %)')
            for line in own[1:]) for chain, own in known]
    right = [
        100 * line['sure_right'][target] for _, own in known for line in own[1:]
        for target in {line['target']} if line['sure_right'][target] is not None]
    return [
        f'### {world}: {", then ".join(targets)}', '',
        *table(['', 'seed', 'mIoU on', *ticks, f'{first} below its best'], rows), '',
        *(f'* {words}: at most {max(drops):.1f} points of {first} are forgotten; at most '
          f'{MAX_FORGOTTEN:g} is asked for: {_verdict(max(drops) <= MAX_FORGOTTEN)}.'
          for words, drops in forgotten.items()),
        *(f'* {sentence}.' for sentence in gate),
        *([f'* Of what the version in use was sure of on the target of its round, '
           f'{min(right):.0f} to {max(right):.0f} % was right.'] if right else []), '',
        f'![mIoU on {first} from round to round]({chart})', '']


def _described(credit: str, targets: dict[str, Any]) -> str:
    return f'`{next(iter(targets))}`' + (f' of {credit}' if credit else '')


def _verdict(holds: bool) -> str:
    return 'it holds' if holds else 'it does **not** hold'
