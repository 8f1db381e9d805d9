"""Change detection on one number as it comes: errors, a latency, a count. Memory and time per value are bounded.

`adwin.py` and `run_length.py` watch a mean; `novelty.py` scores rows of a metric; `nab.py` measures such scores.
"""
