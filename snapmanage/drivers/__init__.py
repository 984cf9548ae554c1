"""Storage backends: the `Driver` protocol, and a module or a package for each kind of backend."""
