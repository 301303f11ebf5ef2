"""Face engines: dlib's networks in onnxruntime, and `face_recognition` as their reference."""
