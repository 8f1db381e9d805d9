"""Secrets in texts: keys with a form of their own, checked where they carry a check, passwords by what names them.

One detector of the guards; it finds and never decides.
"""
