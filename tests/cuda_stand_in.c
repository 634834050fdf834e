/* Stands in for NVIDIA's driver (libcuda.so.1): it starts, and sees one accelerator. */
int cuInit(unsigned flags) { return (int)(flags & 0u); }
int cuDriverGetVersion(int *version) { return *version = 12060, 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
