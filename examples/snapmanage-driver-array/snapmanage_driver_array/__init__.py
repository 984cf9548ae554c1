"""A driver of snapmanage for an array that is an SQLite file: copy the package, and replace the array with your own."""
