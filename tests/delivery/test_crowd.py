"""Many devices at once: each ends on the right version, and no byte is sent that is not needed."""

from __future__ import annotations

import pytest

from benchmarks import crowd
from tests.delivery.hosts import NGINX

DEVICES = 40


def test_all_end_on_the_newest_version_with_hardly_a_byte_too_many(tmp_path):
    if NGINX is None:
        pytest.skip("nginx is not installed")
    done = crowd.update(DEVICES, 60, tmp_path)
    assert done.versions == {"1.1.0": DEVICES}
    assert (
        done.requests == 6 * DEVICES
    )  # a newer root, which there is not; four of metadata; one file
    assert done.least <= done.served < 1.05 * done.least
    assert done.served < done.full / 2
