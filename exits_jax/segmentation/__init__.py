"""Stage 2: instance segmentation trained on masks: whole images, SOLOv2, predictions."""
