"""The database: its tables, every query, and migrations.

Functions take a connection inside a transaction, and values of `snapmanage.core`; they make no
decisions. `Database` opens the transactions.
"""
