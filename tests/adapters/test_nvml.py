"""The NVML adapter: units, what a device does not support, what is not there at all."""

from __future__ import annotations

import pytest

from andon.adapters.nvml import NvmlProbe
from andon.kernel.devices import DeviceReading
from andon.testing.devices import FakeGpu, FakeNvml


def test_the_drivers_units_become_the_products() -> None:
    gpu = FakeGpu(
        uuid="GPU-a",
        name="NVIDIA H200",
        gpu_percent=87,
        memory_percent=41,
        used_bytes=3 * 2**30,
        total_bytes=141 * 2**30,
        milliwatts=512_345,
        millijoules=9_876_543_210,
        celsius=61,
        ecc=(5, 1),
        pids=(20, 10, 20),
    )
    nvml = FakeNvml([gpu], xids=[(0, 31), (0, 79)])
    (reading,) = NvmlProbe(nvml).read().readings
    assert reading == DeviceReading(
        index=0,
        uuid="GPU-a",
        name="NVIDIA H200",
        utilisation=0.87,
        memory_utilisation=0.41,
        memory_used_bytes=3 * 2**30,
        memory_total_bytes=141 * 2**30,
        power_watts=pytest.approx(512.345),
        energy_joules=pytest.approx(9_876_543.21),
        temperature_celsius=61,
        sm_clock_hertz=1_980_000_000,
        memory_clock_hertz=3_201_000_000,
        ecc_uncorrected=1,
        ecc_corrected=5,
        pcie_replays=0,
        last_xid=79,
        pids=(10, 20),
    )


def test_what_a_device_does_not_support_is_unknown() -> None:
    gpu = FakeGpu(gpu_percent=None, milliwatts=None, millijoules=None, celsius=None)
    (reading,) = NvmlProbe(FakeNvml([gpu])).read().readings
    assert (reading.utilisation, reading.power_watts, reading.energy_joules) == (None, None, None)
    assert (reading.ecc_uncorrected, reading.last_xid) == (None, None)


def test_a_lost_device_does_not_hide_the_others() -> None:
    nvml = FakeNvml([FakeGpu(uuid="a", is_lost=True), FakeGpu(uuid="b")])
    assert [one.uuid for one in NvmlProbe(nvml).read().readings] == ["b"]


@pytest.mark.parametrize(
    ("code", "words"), [(12, "libnvidia-ml is not there"), (9, "not loaded"), (999, "does not answer")]
)
def test_no_driver_is_told_and_is_no_error(code: int, words: str) -> None:
    devices = NvmlProbe(FakeNvml(missing=code)).read()
    assert devices.readings == ()
    assert words in devices.absent


def test_no_device_is_told() -> None:
    assert NvmlProbe(FakeNvml()).read().absent == "the NVIDIA driver sees no GPU"


def test_a_driver_that_comes_back_is_found_and_let_go_at_the_end() -> None:
    nvml = FakeNvml([FakeGpu()], missing=9)
    probe = NvmlProbe(nvml)
    assert probe.read().absent
    nvml.missing = 0
    assert len(probe.read().readings) == 1
    probe.close()
    probe.close()
    assert nvml.opened == 0


def test_the_real_library_answers_on_any_machine() -> None:
    probe = NvmlProbe()
    devices = probe.read()
    probe.close()
    assert bool(devices.readings) != bool(devices.absent)
