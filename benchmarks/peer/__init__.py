"""The reference beside snapmanage: Cinder of the package index, on the same broker and the same database server."""
