"""An app whose rows tell whether a transaction is whole: accounts, and the entries that moved their money."""

ACCOUNTS = 8
FIRST_BALANCE = 1000
