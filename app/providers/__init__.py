"""Who moves the money: adapters that do pure I/O, return Outcome values and know no database."""
