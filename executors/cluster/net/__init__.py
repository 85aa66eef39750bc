"""The hands: asyncio and tornado live here and nowhere else."""
