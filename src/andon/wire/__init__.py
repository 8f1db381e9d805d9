"""HTTP/1.1 as served and as spoken: an asyncio protocol on httptools and a keep-alive client.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
