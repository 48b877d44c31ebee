"""Random lives of tenants in several processes, some of them killed or paused, judged by an oracle."""
