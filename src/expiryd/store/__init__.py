"""What is remembered: the port the engine speaks to, and its one implementation over SQLite and PostgreSQL."""
