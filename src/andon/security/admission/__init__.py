"""Admission of models: what their files are, what loading them would do, who signed them. Nothing is ever loaded.

The scan reads bytes and imports nothing of what it reads; its time and memory are bounded by `budget`.
"""
