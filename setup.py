"""The list of packages, which setup.cfg cannot extend; everything else is in setup.cfg."""

from setuptools import find_packages, setup

# `gin/` is data, so `find_packages` does not see it; setup.cfg says where it lies.
setup(packages=[*find_packages(include=["deepmac_ablate*"]), "deepmac_ablate.gin"])
