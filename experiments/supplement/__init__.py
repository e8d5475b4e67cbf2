"""The tables and figures of the EXITS supplement at the size two cores can bear.

One module per table or figure, each run by `python -m experiments.supplement.NAME` and each
writing Markdown, CSV and PNG into experiments/results/supplement/:

  a1_layers, a2_hops   the extractor's layer; the number of hops and beta (both by `choices`)
  a3_warmup            epochs of warm-up, two choices of its unpublished loss
  a4_weights           what the extractor was pretrained on
  a5_cost              parameters, and how the phases' times compare
  fig_a1_sensitivity   thresholds and loss weights
  fig_a2_a4_panels     separated objects, crowded scenes, failures
  decoder_rate         the learning rate of all the generators here

`protocol` draws the instances, `kept` holds what is computed once, `decoder` is the small
generator, `study` measures retrieval and trains generators, `ledger` keeps finished runs, `page`
writes.
"""
