"""The workshop of the injection detector: texts of our own, the recipe of its training and its honest examination.

Nothing here is installed with Andon.
"""
