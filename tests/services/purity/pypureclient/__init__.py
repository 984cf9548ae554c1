"""A stand-in for the vendor's client library of a FlashArray, for Cinder's vendor driver; see `flasharray`."""
