"""Objects whose whole names have changed with their place, such as those of a renamed folder or volume."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from snapmanage import errors
from snapmanage.core.backend import BackendObject, Binding

End = bool | errors.SnapmanageError


def relocated(
    binding: Binding,
    located: Iterable[BackendObject],
    separator: str,
    split: Callable[[str, str], tuple[str, str, str]] = str.rpartition,
) -> Binding | None:
    """Return the binding with the names of the object's present place; None where no object fits.

    The whole name of an object called `VOLUME@NAME` or `FOLDER/NAME` changes with its volume or folder. If the part
    after the separator is still that of the managed name, the object still has to be unmanaged. `split` is
    `str.partition` where NAME may contain the separator.
    """
    original, managed = (split(name, separator)[2] for name in (binding.original_name, binding.managed_name))
    for each in located:
        place, _, last = split(each.name, separator)
        if each.identity == binding.identity and last == managed and each.name != binding.managed_name:
            return Binding(binding.identity, f"{place}{separator}{original}" if place else original, each.name)
    return None


def unmanage_everywhere(
    bindings: Sequence[Binding],
    unmanage: Callable[[Sequence[Binding]], Sequence[End]],
    relocate: Callable[[Sequence[Binding]], Mapping[Binding, Binding]],
) -> tuple[list[End], list[Binding]]:
    """Unmanage objects, and those that have neither name at their present places.

    `unmanage` is `renaming.unmanage_many` for one renamer. `relocate` returns the objects that it finds elsewhere, with
    the names of their places. If it fails, only the objects without their names have its error. Return the end of each
    object, and its binding with its present names.
    """
    ends, present = dict(enumerate(unmanage(bindings))), dict(enumerate(bindings))
    missing = [number for number, end in ends.items() if end is False]
    try:
        places = relocate([bindings[number] for number in missing]) if missing else {}
    except errors.SnapmanageError as failure:
        ends |= dict.fromkeys(missing, failure)
        places = {}
    moved = {number: places[bindings[number]] for number in missing if bindings[number] in places}
    if moved:
        ends |= zip(moved, unmanage(list(moved.values())), strict=True)
    return list(ends.values()), list((present | moved).values())
