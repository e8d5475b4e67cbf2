"""What any program needs: files, errors, progress, stops, processes. Knows no mask."""
