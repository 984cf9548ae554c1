"""The audit log: the chain of its entries, and the rules about them."""
