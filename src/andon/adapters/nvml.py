"""NVIDIA devices through NVML (nvidia-ml-py): the real `kernel.devices.DeviceProbe`.

A machine without the library, the driver or a device is told as such, once, and is no error. A figure that a device
does not support is unknown. The driver's units (percent, MiB, milliwatts, millijoules, MHz) are converted here only.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, TypeVar

from andon.kernel.devices import DeviceReading, Devices

T = TypeVar("T")

XID_EVENT = 8  # nvmlEventTypeXidCriticalError
MEGA = 1_000_000


def _installed() -> Any:
    """The library, where the extra is installed."""
    return importlib.import_module("pynvml") if importlib.util.find_spec("pynvml") else None


class NvmlProbe:
    """Asks NVML; opened at the first reading, and tried again after the driver was lost."""

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml or _installed()
        self._is_open = False
        self._events: Any = None
        self._xids: dict[str, int] = {}  # last by uuid

    def read(self) -> Devices:
        """Every device of this host, or why there is none."""
        nvml = self._nvml
        if nvml is None:
            return Devices(absent="nvidia-ml-py is not installed (pip install 'andon[gpu]')")
        try:
            if not self._is_open:
                nvml.nvmlInit()
                self._is_open = True
                self._listen()
            count = int(nvml.nvmlDeviceGetCount())
        except nvml.NVMLError as error:
            self.close()
            return Devices(absent=_why(nvml, error))
        if not count:
            return Devices(absent="the NVIDIA driver sees no GPU")
        self._collect_xids()
        found = [self._device(index) for index in range(count)]
        return Devices(readings=tuple(one for one in found if one is not None))

    def close(self) -> None:
        """Let the driver go."""
        if self._is_open:
            self._is_open = False
            if self._events is not None:
                self._ask(self._nvml.nvmlEventSetFree, self._events)
                self._events = None
            self._ask(self._nvml.nvmlShutdown)

    def _listen(self) -> None:
        """Ask to be told of XID errors; a driver or container that does not allow it leaves them unknown."""
        self._events = self._ask(self._nvml.nvmlEventSetCreate)
        for index in range(self._ask(self._nvml.nvmlDeviceGetCount) or 0):
            handle = self._ask(self._nvml.nvmlDeviceGetHandleByIndex, index)
            if self._events is not None and handle is not None:
                self._ask(self._nvml.nvmlDeviceRegisterEvents, handle, XID_EVENT, self._events)

    def _collect_xids(self) -> None:
        for _ in range(64):  # as many as one turn looks at
            event = (
                self._ask(self._nvml.nvmlEventSetWait_v2, self._events, 0)
                if self._events is not None
                else None
            )
            if event is None:
                return
            uuid = self._ask(self._nvml.nvmlDeviceGetUUID, event.device)
            if uuid is not None:
                self._xids[_text(uuid)] = int(event.eventData)

    def _device(self, index: int) -> DeviceReading | None:
        nvml, ask = self._nvml, self._ask
        handle = ask(nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            return None  # fallen off the bus: the others are still asked
        uuid = _text(ask(nvml.nvmlDeviceGetUUID, handle) or f"index-{index}")
        rates, memory = ask(nvml.nvmlDeviceGetUtilizationRates, handle), self._memory(handle)
        processes = ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        uncorrected, corrected = (
            nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
        )
        volatile = nvml.NVML_VOLATILE_ECC
        return DeviceReading(
            index=index,
            uuid=uuid,
            name=_text(ask(nvml.nvmlDeviceGetName, handle) or "unknown"),
            utilisation=None if rates is None else ratio_of_percent(rates.gpu),
            memory_utilisation=None if rates is None else ratio_of_percent(rates.memory),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            power_watts=_scaled(ask(nvml.nvmlDeviceGetPowerUsage, handle), 1e-3),
            energy_joules=_scaled(ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle), 1e-3),
            temperature_celsius=_scaled(
                ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU), 1
            ),
            sm_clock_hertz=_hertz(ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM)),
            memory_clock_hertz=_hertz(ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM)),
            ecc_uncorrected=ask(nvml.nvmlDeviceGetTotalEccErrors, handle, uncorrected, volatile),
            ecc_corrected=ask(nvml.nvmlDeviceGetTotalEccErrors, handle, corrected, volatile),
            pcie_replays=ask(nvml.nvmlDeviceGetPcieReplayCounter, handle),
            last_xid=self._xids.get(uuid),
            pids=tuple(sorted({int(process.pid) for process in processes})),
        )

    def _memory(self, handle: Any) -> Any:
        """Used without what the driver keeps for itself, where this NVML can tell (version 2 of the structure)."""
        version = getattr(self._nvml, "nvmlMemory_v2", None)
        found = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle, version) if version else None
        return self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle) if found is None else found

    def _ask(self, question: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None  # not supported here, or lost meanwhile: unknown


def ratio_of_percent(percent: float) -> float:
    """A share in [0, 1]."""
    return percent / 100.0


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _hertz(megahertz: int | None) -> int | None:
    return None if megahertz is None else int(megahertz) * MEGA


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _why(nvml: Any, error: Exception) -> str:
    code = getattr(error, "value", None)
    if code == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return "no NVIDIA driver: its library libnvidia-ml is not there"
    if code == nvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return "the NVIDIA driver is not loaded"
    return f"NVML does not answer: {error}"
