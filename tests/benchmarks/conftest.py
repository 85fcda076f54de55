"""Benchmarks are no part of the installed package: they are found in the checkout, behind everything installed."""

import sys

import places

sys.path.append(str(places.ROOT))
