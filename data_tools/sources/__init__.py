"""Readers of published data sets and of other programs' files, and the one way from them into a store."""
