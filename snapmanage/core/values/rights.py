"""The rights of users on folders."""

import os
import stat
from collections.abc import Collection


def keeps_names(folder: os.stat_result, owners: Collection[int], trusts_group: bool = False) -> bool:
    """Return whether only `owners` can rename or remove the files that they have in a folder.

    With `trusts_group`, the folder's group may do so too. A symbolic link is as safe as its owner: its mode has no
    meaning.
    """
    writers = stat.S_IWOTH if trusts_group else stat.S_IWGRP | stat.S_IWOTH
    others_write = folder.st_mode & writers and not folder.st_mode & stat.S_ISVTX
    return folder.st_uid in owners and (stat.S_ISLNK(folder.st_mode) or not others_write)
