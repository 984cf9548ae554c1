"""Files that a command writes: new, whole and readable by their owner only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from snapmanage import errors


@contextmanager
def new_file(path: Path, mode: int = 0o600) -> Iterator[IO[str]]:
    """Open a file that appears under its name only when the context ends without an error.

    Raise `InvalidRequest` if there is a file of this name, or if the file can't be written.
    """
    temporary = None
    try:
        if os.path.lexists(path):
            raise FileExistsError(17, "the file exists, and is not overwritten")
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError as error:
        raise errors.InvalidRequest(f"{path} can't be written: the file exists, and is not overwritten") from error
    except OSError as error:
        raise errors.InvalidRequest(f"{path} can't be written: {error.strerror}") from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()
