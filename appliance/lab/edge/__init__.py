"""DeepASA-Edge: the network that ships, from its layers by way of training to its ONNX files."""
