"""Guards: what looks at texts on their way to a model and back, and what is done about what it finds.

Detectors only find; the policy of an endpoint decides; the gateway enforces below every dialect.
"""
