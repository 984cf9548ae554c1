"""The rows of the audit log, and those that it is compared with."""
