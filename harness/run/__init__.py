"""From a suite file to a judged run."""
