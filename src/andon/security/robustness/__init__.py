"""How well a model stands up to somebody who may only ask it: black-box attacks under a stated budget of queries.

Needs the extra `robustness` when an assessment is made, and nothing before.
"""
