"""Alembic's scripts, which bring the tables of an earlier version up to date."""
