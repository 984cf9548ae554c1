"""For authors of drivers: a contract suite for pytest, and the protocols of the laboratories that it runs on."""
