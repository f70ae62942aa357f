"""Plans: engine graphs compiled for one version of TensorRT or TensorRT-RTX and one kind of GPU.

Built from the .onnx that lies beside them, by coder-export or, where the GPU is another one, by :mod:`.rebuild`; what a
plan was built by and for is recorded in the weight file (:mod:`.record`). None of it needs torch or onnx.
"""
