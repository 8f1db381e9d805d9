"""Andon: the operational backbone of an AI factory.

Importing the package does nothing and loads nothing; everything starts in `andon.app`.
"""

__version__ = "0.1.0"
