"""Stands for the vendor's library of a FlashArray, for the real driver of Cinder; see `flasharray`."""
