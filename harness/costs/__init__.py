"""What a tree costs: a model after LogGP, its calibration, and the choice of a tree. Pure: numbers in, numbers out."""
