"""snapmanage-volume with a slow fake backend.

Arguments: the seconds of a rename, then the arguments of snapmanage-volume.
"""

import sys
import time

from snapmanage.cmd import volume
from snapmanage.drivers.fake import FakeDriver

if __name__ == "__main__":
    seconds, rename = float(sys.argv.pop(1)), FakeDriver.rename

    def rename_slowly(self: FakeDriver, old: str, new: str) -> None:
        time.sleep(seconds)
        rename(self, old, new)

    FakeDriver.rename = rename_slowly  # type: ignore[method-assign]
    sys.exit(volume.main())
