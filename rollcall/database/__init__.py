"""The database behind the trigger: SQLite by default, PostgreSQL for several triggers."""
