"""API keys: their form, the verbs that make and revoke them, and the gateway's first stage.

The secret part of a key is shown once and never stored; everything else here works with its keyed hash.
"""
