"""Mechanics of the control API: routes, OpenAPI document, authorisation, problem details.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
