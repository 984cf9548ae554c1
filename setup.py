"""What pbr needs to build the package; everything about it is in `setup.cfg`."""

import setuptools

setuptools.setup(setup_requires=["pbr>=6"], pbr=True)
