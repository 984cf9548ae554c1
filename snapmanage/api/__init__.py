"""The REST API, in the shape of Block Storage v3.

`routes` is the table of paths and operations. A handler takes an `ApiRequest` and returns an `Answer`. `app` maps
errors to HTTP statuses, in one place.
"""
