"""OpenTelemetry: spans, metrics and log records sent by the SDK's own OTLP/HTTP exporters.

Blocking clients for threads; they hold nothing back and decide nothing about what is sent.
"""
