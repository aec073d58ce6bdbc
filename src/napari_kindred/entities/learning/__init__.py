"""Fine-tuning: a few corrected objects teach given weights in minutes."""
