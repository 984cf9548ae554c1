"""Names in images of other formats: a guest may have written them, so that their number and length have bounds."""

from snapmanage.drivers.qcow2 import other_formats


def names(text: str) -> tuple[str, ...] | None:
    data = text.encode()
    return other_formats.names(lambda size, offset: data[offset : offset + size])


def test_names_of_a_vmdk_are_read() -> None:
    text = 'createType="x"\nparentFileNameHint="base.vmdk"\nRW 2048 FLAT "flat.raw" 0\n'

    assert names(text) == ("base.vmdk", "flat.raw")


def test_name_in_a_vmdk_that_qemu_would_not_take_counts_as_none() -> None:
    assert names(f'createType="x"\nRW 2048 FLAT "{"a:" * 600}" 0\nRW 2048 FLAT "flat.raw" 0\n') == ("flat.raw",)


def test_vmdk_names_a_few_hundred_files_at_most() -> None:
    text = "\n".join(f'RW 1 FLAT "{number}"' for number in range(4000))

    assert len(names(f"createType\n{text}") or ()) == 256
