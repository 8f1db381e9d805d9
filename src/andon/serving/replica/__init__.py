"""The replica: a process of its own that serves one model version by the Open Inference Protocol v2.

Started by an executor as `python -m andon.serving.replica SPEC.json`; outlives control.
"""
