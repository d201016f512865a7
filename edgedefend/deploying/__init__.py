"""`edgedefend deploy`: releases on boards over SSH. Desktop only, but for `agent`, which is sent to the board."""
