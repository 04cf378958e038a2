"""Surgery and number formats: what can be cut, what should be, thin layers, int8 and fp16."""
