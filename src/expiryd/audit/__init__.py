"""The audit trail: what was seen, decided, sent and done, in lines that prove each other."""
