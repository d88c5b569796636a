"""The floors: what plain scripts with only the durable moves reach on this machine; no library can be far below them."""
