# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Adapting to what a robot sees. Nothing here imports torch at load but `round`."""

from bkd_core.adaptation.collector import Collected, Collector, CollectorConfig, NOT_WRITTEN
from bkd_core.adaptation.frame_quality import QualityConfig
from bkd_core.adaptation.frame_selection import SELECTIONS
from bkd_core.adaptation.frame_store import Addition, FrameStore
from bkd_core.adaptation.round_folder import begin_versions
from bkd_core.adaptation.round_process import RoundProcess, RoundStatus
from bkd_core.adaptation.round_trigger import RoundTrigger, START_ON
from bkd_core.adaptation.shift import ShiftDetector
from bkd_core.adaptation.trial_file import StoredTrial, TrialFile
from bkd_core.adaptation.trial_window import FrameScores, TrialSettings, TrialWindow, Verdict
from bkd_core.adaptation.versions import ModelVersions
from bkd_core.datasets.frame_record import camera_name, FrameMetadata, FrameRecord, MAX_POSE_AGE_S
from bkd_core.evaluation import FrameDescription, ShiftReference

__all__ = [
    'Addition', 'begin_versions', 'camera_name', 'Collected', 'Collector', 'CollectorConfig',
    'FrameDescription', 'FrameMetadata', 'FrameRecord', 'FrameScores', 'FrameStore',
    'MAX_POSE_AGE_S', 'ModelVersions', 'NOT_WRITTEN', 'QualityConfig', 'RoundProcess',
    'RoundStatus', 'RoundTrigger', 'SELECTIONS', 'ShiftDetector', 'ShiftReference', 'START_ON',
    'StoredTrial', 'TrialFile', 'TrialSettings', 'TrialWindow', 'Verdict']
