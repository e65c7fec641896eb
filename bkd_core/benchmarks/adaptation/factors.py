# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""BKD's values that are not known from the paper, and what the search tries for each."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from bkd_core.method_config import BilateralDistillationConfig

STUDENT_INIT = 'student_init'
# Every setting at once: what a protocol gets that brings none of its own.
PACKAGE_DEFAULTS = 'package_defaults'
# A method's setting, or the student's initialisation, and its values. The default among them is
# measured once, as the default.
FACTORS: dict[str, tuple[Any, ...]] = {
    'temperature': (0.5, 1.0, 2.0, 4.0),
    'lambda_soft': (0.0, 0.25, 0.5, 1.0),
    'lambda_target': (0.5, 1.0, 2.0),
    'lambda_entropy': (0.0, 0.01, 0.05, 0.1),
    'kl_direction': ('forward', 'reverse'),
    'mining.form': ('none', 'top_k', 'focal'),
    'mining.ratio': (0.1, 0.3, 0.5),
    'mining.gamma': (0.5, 1.0, 2.0),
    'mining.share': (0.0, 0.5, 1.0),
    'confidence_cap': (0.0, 1.0, 2.0),
    'teacher_view': ('frame', 'crop'),
    'logit_adjustment': (0.0, 0.25, 0.5, 0.75),
    STUDENT_INIT: ('imagenet', 'source_only', 'teacher'),
    PACKAGE_DEFAULTS: (True,),
}
# Without these a setting has no effect.
_NEEDED = {
    'mining.ratio': {'mining.form': 'top_k'},
    'mining.gamma': {'mining.form': 'focal'},
}


@dataclass(frozen=True)
class Change:
    """
    One setting that differs from the protocol's own; or all of them, at this package's defaults.

    :param factor: One of `FACTORS`.
    :param value: Its value.
    """

    factor: str
    value: Any

    def __str__(self) -> str:
        """Return it for people and file names."""
        return f'{self.factor}_{self.value}'

    @property
    def settings(self) -> dict[str, Any]:
        """Return the factors that it sets: itself, and what it has no effect without."""
        if self.factor == PACKAGE_DEFAULTS:
            return _of_method(BilateralDistillationConfig())
        return {**_NEEDED.get(self.factor, {}), self.factor: self.value}

    @property
    def method(self) -> dict[str, Any]:
        """Return what it changes in the method's settings."""
        changes: dict[str, Any] = {}
        for factor, value in self.settings.items():
            *group, name = factor.split('.')
            part = changes
            for key in group:
                part = part.setdefault(key, {})
            if factor != STUDENT_INIT:
                part[name] = value
        return changes


def settings_of(method: BilateralDistillationConfig, student_init: str) -> dict[str, Any]:
    """
    Return the value of every factor in a run.

    :param method: The settings of its method.
    :param student_init: What its student started from.
    """
    return {**_of_method(method), STUDENT_INIT: student_init}


def _of_method(method: BilateralDistillationConfig) -> dict[str, Any]:
    """Return the value of every factor that is a setting of the method."""
    return {
        factor: attrgetter(factor)(method)
        for factor in FACTORS if factor not in (STUDENT_INIT, PACKAGE_DEFAULTS)}
