# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The files of a run, beside those of the model directory that it becomes.

    .lock               held by the process that trains
    checkpoint.pt       from which the run goes on; gone when it is finished
    log.jsonl           seconds and losses of each step
    resources.jsonl     speed, learning rate and memory
    validation.jsonl    scores on validation frames, if they were asked for
    run.json            settings, each start with its environment, the step that is saved
    best/               the best network so far as a model directory, if scores were asked for
    pictures/           what the network said, if pictures were asked for
    tensorboard/        event files, if they were asked for
"""

LOCK = '.lock'
CHECKPOINT = 'checkpoint.pt'
LOG = 'log.jsonl'
RESOURCES = 'resources.jsonl'
VALIDATION = 'validation.jsonl'
RUN = 'run.json'
BEST = 'best'
BEST_SCORE = 'best.json'  # in `best/`
PICTURES = 'pictures'
TENSORBOARD = 'tensorboard'
# What a run writes beside its model and its losses: about the machine, or pictures of frames.
RECORDS = (RUN, RESOURCES, VALIDATION, BEST, PICTURES, TENSORBOARD, CHECKPOINT)
