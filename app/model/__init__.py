"""The words of the domain as plain values: no database, no network, no clock."""
