"""An NVIDIA accelerator's memory, streams and graphs: one Protocol, one small file for each Python binding of CUDA."""
