"""Episodes, and the processes that run them."""
