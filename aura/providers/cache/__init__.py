"""What engines made before and need not make again: spoken sentences, answers, and whatever is under way."""
