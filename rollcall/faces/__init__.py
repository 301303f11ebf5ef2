"""Finding and encoding faces with networks in onnxruntime; `face_recognition` is the reference."""
