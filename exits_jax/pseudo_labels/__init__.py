"""Stage 1: extreme points to masks, from crops to finished labels."""
