"""Studies: many trainings and classifiers over repeated folds, each cell run once."""
