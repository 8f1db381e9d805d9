"""Models and their versions: what people declare, how a folder becomes something that predicts.

The kinds are light and known to control; `formats` needs numpy and is imported by replicas only.
"""
