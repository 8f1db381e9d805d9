"""Infrastructure: hosts, processes, GPUs and the ledger itself, measured every few seconds.

Knows no third party but psutil; GPUs come through a port of the kernel.
"""
