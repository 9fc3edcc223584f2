"""What people are told while a run goes on: results, how far it is, mistakes that cost little to notice early."""
