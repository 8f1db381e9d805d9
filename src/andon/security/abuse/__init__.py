"""Callers that do harm: too many refusals, more than the gateway can bear, a model being copied by its answers.

Two stages of memory only: one before anybody is identified, one after. What takes thought runs beside the requests.
"""
