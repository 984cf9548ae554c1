"""Storage backends: the `Driver` protocol and one file a backend."""
