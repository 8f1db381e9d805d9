"""Accelerators told by a file: what another program on this host last wrote about them, as JSON.

For devices that NVML does not know, and for containers that may not ask the driver. The file holds a
`kernel.devices.Devices` (`{"readings": [{"index": 0, "uuid": "…", "name": "…", "utilisation": 0.5, …}]}`) and is
replaced whole by its writer. One that is missing or unreadable means no device, and says why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from andon.kernel.devices import Devices

SIZE_MAX: Final = 2**20


class DeviceFile:
    """A `kernel.devices.DeviceProbe`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Devices:
        """What the file says now. Blocks."""
        try:
            with self._path.open("rb") as file:
                content = file.read(SIZE_MAX + 1)
            if len(content) > SIZE_MAX:
                return Devices(absent=f"{self._path} is larger than {SIZE_MAX} bytes")
            return msgspec.json.decode(content, type=Devices)
        except OSError as error:
            return Devices(absent=f"{self._path} cannot be read: {error.strerror}")
        except msgspec.DecodeError as error:
            return Devices(absent=f"{self._path} is not a reading of devices: {error}")

    def close(self) -> None:
        """Nothing is held."""
