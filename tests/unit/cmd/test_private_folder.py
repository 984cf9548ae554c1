"""The folder of `snapmanage standalone` must be usable by its owner."""

import os

import pytest

from snapmanage import errors
from snapmanage.cmd.process import private_folder
from tests.unit.other_users import as_nobody, folder_of_nobody


@pytest.mark.parametrize("rights", [0o600, 0o500, 0o000])
def test_folder_that_its_owner_cannot_use_is_refused_with_the_remedy(rights: int) -> None:
    umask = os.umask(0)
    try:
        with folder_of_nobody(rights) as folder, as_nobody():
            with pytest.raises(errors.ConfigurationError) as caught:
                private_folder.create(folder)
            assert str(caught.value).endswith(f"run chmod 700 {folder}")
    finally:
        os.umask(umask)
