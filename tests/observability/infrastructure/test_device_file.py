"""Accelerators told by a file: read as they are written, and no device with its reason where that fails."""

from __future__ import annotations

from pathlib import Path

import msgspec

from andon.adapters.device_file import SIZE_MAX, DeviceFile
from andon.kernel.devices import DeviceReading, Devices


def test_the_file_says_what_the_devices_do(tmp_path: Path) -> None:
    said = Devices(readings=(DeviceReading(index=0, uuid="NPU-1", name="An accelerator", utilisation=0.5),))
    file = tmp_path / "devices.json"
    file.write_bytes(msgspec.json.encode(said))
    assert DeviceFile(file).read() == said


def test_without_a_readable_file_there_is_no_device_and_a_reason(tmp_path: Path) -> None:
    assert "No such file" in DeviceFile(tmp_path / "none").read().absent
    broken = tmp_path / "broken"
    broken.write_text('{"readings": [{"index": "zero"}]}')
    assert "not a reading of devices" in DeviceFile(broken).read().absent
    broken.write_bytes(b" " * (SIZE_MAX + 1))
    assert "larger than" in DeviceFile(broken).read().absent
