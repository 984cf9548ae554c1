"""The REST API, in the shape of Block Storage v3.

`routes` is the table of what there is; a handler takes a `Call` and returns an `Answer`; errors
become statuses in `app`, once.
"""
