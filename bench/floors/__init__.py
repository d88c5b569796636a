"""The floors: what plain scripts with only the durable moves reach; no library can be far below them."""
