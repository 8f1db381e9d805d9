"""Prompt injection and jailbreaks: folding of disguises, features, weights, detector.

The detector reads and scores; it never changes a text. tools/train_injection.py makes the weights.
"""
