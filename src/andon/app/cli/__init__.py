"""The command line: `andon`, one module for each group of verbs.

It is a client of the admin API and knows nothing that the API does not say; only `up`, `down` and `demo` reach into
`app` itself, through `commands.load`. Results go to stdout, everything else to stderr.
"""
