"""Fine-tuning methods on the larger base model: five tasks and a control, every row's prediction kept."""
