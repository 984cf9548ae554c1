"""The database: its tables, every query, and migrations.

Functions take a connection inside a transaction, and values of `snapmanage.core`; none of them
decides anything. `Database` opens the transactions.
"""
