"""The engine: it runs looks, keeps what is known, and delivers what is owed. It knows ports, never concrete edges."""
