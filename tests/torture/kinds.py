"""The kinds of operations by the load that does them; a run ends when each load has confirmed some."""

COMMANDS = ("create_tenant", "create_tenants", "tenant_load", "tenant_delete", "migrate some", "migrate one")
COMMANDS += ("migrate all", "migrate D1", "first use", "tenant_restore")
COMMANDS += ("tenant_move none", "tenant_move eu", "tenant_move us")
KINDS = (("transfer", "write"), ("ORM transfer", "D1 batch", "D1 transfer"), COMMANDS)
LEAST = 3
