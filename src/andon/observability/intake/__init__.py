"""Telemetry in: what OpenTelemetry clients send, turned into facts; and the metrics of everything that is taken in.

Answers as the OTLP specification says, keeps evaluations and spans, and says honestly what it does not keep.
"""
