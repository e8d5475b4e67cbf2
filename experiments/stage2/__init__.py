"""The claim of the paper, measured: one network, trained on true masks and on labels of all kinds.

`python -m experiments.stage2` makes the labels, trains, predicts and writes
experiments/results/stage2.md; it goes on where it was stopped.

`data_sets` says what is trained and tested on, `arms` makes the labels, `command` runs the
program, `runs` trains and predicts by it, `detections` matches what was found with the truth,
`resampled_ap` draws images anew, `page` writes.
"""
