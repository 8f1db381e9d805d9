"""Formats: each turns files into a `LoadedModel`. Imported by the replica process only; needs numpy.

The libraries behind a format are imported when a model of that format is opened, never before.
"""
