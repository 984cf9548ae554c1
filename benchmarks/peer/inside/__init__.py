"""Programs that run in Cinder's own environment, which lacks snapmanage: they import Cinder only."""
