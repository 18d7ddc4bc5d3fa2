"""From the frames of a video to its poses: batches, overlap, regions, chunks that survive a kill."""
