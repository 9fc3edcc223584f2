"""What decides whom to train next: random search, Hyperband and ASHA, DyHPO."""
