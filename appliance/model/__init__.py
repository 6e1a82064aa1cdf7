"""The network at run time: ONNX Runtime and NumPy, state in named arrays."""
