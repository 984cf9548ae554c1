"""A program that a test starts has its scratch folder for all its files."""

from snapmanage.testing.services.process import Program, scratch


def test_temporary_files_of_a_program_are_in_its_own_folder() -> None:
    with scratch() as folder:
        program = Program("shell", folder)
        program.run(["/bin/sh", "-c", 'echo "$TMPDIR" "$HOME"'])
        assert program.log_tail() == f"{folder} {folder}"
