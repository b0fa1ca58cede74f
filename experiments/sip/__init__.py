"""The proof of the SIP example: SIPp as the telephone network, the sidecar, the simulator."""
