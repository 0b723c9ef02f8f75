"""Following objects through a video, from their masks in its first frame."""
