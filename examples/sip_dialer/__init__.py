"""A small predictive dialer that places real SIP calls as a quietdial sidecar says.

    python3 -m sip_dialer settings.json

Standard library only. Read the files in this order: `messages.py` (the text of SIP),
`transactions.py` (its retransmissions), `user_agent.py` (calls), `floor.py` (agents and the queue),
`sidecar.py` (how many calls to place), `__main__.py` (once a second).

No voice: the calls carry no media. It shows the loop and is tested against SIPp; it is no product.
"""
