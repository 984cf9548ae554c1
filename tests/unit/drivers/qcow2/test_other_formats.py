"""File names in images of other formats: a guest may have written them, so their number and length are limited."""

from snapmanage.drivers.qcow2 import other_formats


def file_names(text: str) -> tuple[str, ...] | None:
    data = text.encode()
    return other_formats.file_names(lambda size, offset: data[offset : offset + size])


def test_file_names_in_a_vmdk_are_read() -> None:
    text = 'createType="x"\nparentFileNameHint="base.vmdk"\nRW 2048 FLAT "flat.raw" 0\n'

    assert file_names(text) == ("base.vmdk", "flat.raw")


def test_name_in_a_vmdk_that_is_too_long_for_qemu_is_ignored() -> None:
    assert file_names(f'createType="x"\nRW 2048 FLAT "{"a:" * 600}" 0\nRW 2048 FLAT "flat.raw" 0\n') == ("flat.raw",)


def test_a_few_hundred_names_of_a_vmdk_are_read_at_most() -> None:
    text = "\n".join(f'RW 1 FLAT "{number}"' for number in range(4000))

    assert len(file_names(f"createType\n{text}") or ()) == 256
