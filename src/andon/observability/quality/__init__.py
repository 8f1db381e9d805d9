"""Whether models are still right: accuracy and calibration from late labels, estimates before them, drift, change.

Views of the ledger. `drift/` compares what comes in with a reference, `streams/` watches one number as it comes.
"""
