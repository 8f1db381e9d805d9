"""Imagined accelerators: a `DeviceProbe` whose devices a test sets, and a stand-in for the NVML library itself.

`FakeDevices` is for everything above the port. `FakeNvml` is for the adapter: it speaks the driver's own units and
fails as the driver does, with `NVMLError` for what a device does not support.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from andon.kernel.devices import DeviceReading, Devices


class FakeDevices:
    """What a test says the devices say."""

    def __init__(self, readings: Sequence[DeviceReading] = (), absent: str = "") -> None:
        self.now = Devices(readings=tuple(readings), absent=absent)
        self.is_closed = False

    def read(self) -> Devices:
        """The devices as set."""
        return self.now

    def close(self) -> None:
        """Remember that it was."""
        self.is_closed = True


@dataclass
class FakeGpu:
    """One device in the driver's units. None: not supported."""

    uuid: str = "GPU-0"
    name: str = "Imagined GPU"
    gpu_percent: int | None = 0
    memory_percent: int = 0
    used_bytes: int = 0
    total_bytes: int = 80 * 2**30
    milliwatts: int | None = 70_000
    millijoules: int | None = 0
    celsius: int | None = 30
    sm_megahertz: int = 1980
    memory_megahertz: int = 3201
    ecc: tuple[int, int] | None = None  # corrected, uncorrected
    pids: tuple[int, ...] = ()
    is_lost: bool = False


class NVMLError(Exception):
    """As pynvml's."""

    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


@dataclass
class _Values:
    """A structure with whatever fields."""

    fields: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.fields[name]


@dataclass
class FakeNvml:
    """The functions of pynvml that the adapter calls."""

    gpus: list[FakeGpu] = field(default_factory=list)
    missing: int = 0  # error code of nvmlInit
    xids: list[tuple[int, int]] = field(default_factory=list)  # (index, XID) still to be told
    opened: int = 0
    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_TIMEOUT = 10
    NVML_ERROR_LIBRARY_NOT_FOUND = 12
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_GPU_IS_LOST = 15
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_MEMORY_ERROR_TYPE_CORRECTED = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def nvmlInit(self) -> None:  # noqa: N802  # the library's own names, here and below
        if self.missing:
            raise NVMLError(self.missing)
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        if self.gpus[index].is_lost:
            raise NVMLError(self.NVML_ERROR_GPU_IS_LOST)
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> bytes:  # noqa: N802
        return gpu.name.encode()

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:  # noqa: N802
        return _Values({"gpu": self._known(gpu.gpu_percent), "memory": gpu.memory_percent})

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:  # noqa: N802
        return _Values({"used": gpu.used_bytes, "total": gpu.total_bytes})

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        return int(self._known(gpu.milliwatts))

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:  # noqa: N802
        return int(self._known(gpu.millijoules))

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:  # noqa: N802
        return int(self._known(gpu.celsius))

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, clock: int) -> int:  # noqa: N802
        return gpu.sm_megahertz if clock == self.NVML_CLOCK_SM else gpu.memory_megahertz

    def nvmlDeviceGetTotalEccErrors(self, gpu: FakeGpu, kind: int, counter: int) -> int:  # noqa: N802
        return int(self._known(gpu.ecc)[kind])

    def nvmlDeviceGetPcieReplayCounter(self, gpu: FakeGpu) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[Any]:  # noqa: N802
        return [_Values({"pid": pid}) for pid in gpu.pids]

    def nvmlEventSetCreate(self) -> object:  # noqa: N802
        return self

    def nvmlEventSetFree(self, events: object) -> None:  # noqa: N802
        return None

    def nvmlDeviceRegisterEvents(self, gpu: FakeGpu, kinds: int, events: object) -> None:  # noqa: N802
        return None

    def nvmlEventSetWait_v2(self, events: object, timeout_ms: int) -> Any:  # noqa: N802
        if not self.xids:
            raise NVMLError(self.NVML_ERROR_TIMEOUT)
        index, xid = self.xids.pop(0)
        return _Values({"device": self.gpus[index], "eventData": xid})

    def _known(self, value: Any) -> Any:
        if value is None:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return value
