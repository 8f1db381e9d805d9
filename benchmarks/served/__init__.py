"""What the prediction peers serve: the same ONNX model, in each one's own way. Run in their own environments."""
