"""Personal data in texts: what has a form and a check digit by rule, names by a small trained tagger.

One detector of the guards; it finds and never decides.
"""
