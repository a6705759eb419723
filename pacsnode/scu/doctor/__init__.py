"""The connection doctor: what works between the node and a peer, step by step, and what to change
at either side where it does not. Nothing here prints."""
