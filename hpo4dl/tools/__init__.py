"""The command line, checks of objective functions and executors, warm starts, vendoring."""
