"""The supply chain: what Andon and its models are made of, what of it is vulnerable, and the papers that say so.

Works from files alone; nothing here asks the network.
"""
