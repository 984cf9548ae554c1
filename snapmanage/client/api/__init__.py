"""Requests of the Block Storage API, as far as the client programs need them."""
