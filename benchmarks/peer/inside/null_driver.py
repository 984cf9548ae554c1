"""A driver of Cinder that answers at once, like snapmanage's driver `fake`; named by the option `volume_driver`."""

from typing import Any

from cinder.volume import driver


class NullDriver(driver.VolumeDriver):  # type: ignore[misc]  # cinder has no annotations
    def check_for_setup_error(self) -> None:
        """Return, since there is no backend."""

    def _update_volume_stats(self) -> None:
        self._stats = {
            "volume_backend_name": "null",
            "vendor_name": "none",
            "driver_version": "1",
            "storage_protocol": "none",
            "total_capacity_gb": 1000,
            "free_capacity_gb": 1000,
        }

    def manage_existing_snapshot_get_size(self, snapshot: Any, existing_ref: Any) -> int:
        return 1

    def manage_existing_snapshot(self, snapshot: Any, existing_ref: Any) -> dict[str, Any]:
        return {}
