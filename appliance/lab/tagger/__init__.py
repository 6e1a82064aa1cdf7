"""The tagger: three ears that name what comes from one direction, from beams to its ONNX file."""
