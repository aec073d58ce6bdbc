"""Shared pictures, drawn in a few lines, and the rule that CI skips no GUI test."""

from __future__ import annotations

import os

import numpy as np
import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    skipped = [
        report.nodeid
        for report in reporter.stats.get("skipped", [])
        if report.nodeid.startswith("tests/napari")
    ]
    if skipped:
        reporter.write_line(f"GUI tests were skipped: {', '.join(sorted(set(skipped)))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def discs() -> tuple[np.ndarray, np.ndarray]:
    """A uint8 picture (96, 128) of six bright discs on a dark ground, and their labels."""
    rows, columns = np.mgrid[:96, :128]
    labels = np.zeros((96, 128), np.int32)
    centres = [(24, 20), (24, 64), (24, 108), (72, 20), (72, 64), (72, 108)]
    for number, (y, x) in enumerate(centres, start=1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 12**2] = number
    noise = np.random.default_rng(0).integers(0, 20, labels.shape)
    return ((labels > 0) * 180 + 20 + noise).astype(np.uint8), labels
