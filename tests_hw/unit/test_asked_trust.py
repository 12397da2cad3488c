"""This file checks that a run is not gone on with as somebody else has written it."""

import json
import os

import pytest

from vfio_hw.asked import begun
from vfio_hw.errors import HarnessError


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "results" / "events.jsonl"
    path.parent.mkdir(mode=0o755)
    path.write_text(json.dumps({"event": "asked", "kernels": [], "guest": {}, "options": {}}))
    path.chmod(0o644)
    path.parent.chmod(0o755)
    return path


def test_a_record_of_our_own_is_read(record):
    assert begun(record.parent) == {"kernels": [], "guest": {}, "options": {}}


def test_one_that_others_may_write_is_not(record):
    record.chmod(0o666)
    with pytest.raises(HarnessError, match=r"events\.jsonl is not this user's alone"):
        begun(record.parent)
    record.chmod(0o644)
    record.parent.chmod(0o777)
    with pytest.raises(HarnessError, match=r"results is not this user's alone"):
        begun(record.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_one_of_another_user_is_not(record):
    os.chown(record, 4242, -1)
    with pytest.raises(HarnessError, match="go on as user 4242"):
        begun(record.parent)


def test_a_link_to_a_record_is_none(record, tmp_path):
    link = tmp_path / "link"
    link.mkdir(mode=0o755)
    (link / "events.jsonl").symlink_to(record)
    with pytest.raises(HarnessError, match="alone"):
        begun(link)
