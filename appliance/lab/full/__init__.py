"""DeepASA as the paper has it: a teacher, for GPUs."""
