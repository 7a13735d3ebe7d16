"""Fine-tuning on rows of one's own: the command ``tune``, its data, its loss and what it leaves behind."""
