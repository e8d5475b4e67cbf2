"""What any program needs: files, errors, progress, stopping, processes. Knows nothing of masks."""
