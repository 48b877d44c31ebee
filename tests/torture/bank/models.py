"""Accounts and entries: an account's balance is what it began with and the sum of its entries."""

from django.db import models

from tests.torture.bank import FIRST_BALANCE


class Account(models.Model):
    balance = models.IntegerField(default=FIRST_BALANCE)

    def __str__(self):
        return f"account {self.pk}"


class Entry(models.Model):
    op = models.CharField(max_length=40, db_index=True, help_text="The operation that wrote it.")
    account = models.ForeignKey(Account, models.PROTECT, db_index=False)
    amount = models.IntegerField()

    class Meta:
        # An account's sum, which every look asks for, is read from it alone.
        indexes = [models.Index(fields=["account", "amount"], name="bank_entry_sums")]

    def __str__(self):
        return f"{self.op}: {self.amount}"
