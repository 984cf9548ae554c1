"""The contract of a driver: every driver passes these tests on its real backend."""
