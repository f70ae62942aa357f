// The kernels as the host's compiler takes them.
#include "../../../kernels/cuda/launch.cu"
