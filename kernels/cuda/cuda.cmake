# _cuda, the head on NVIDIA GPUs: a module of its own, so that coder_engine never needs CUDA. It is linked to
# CUDA's static runtime alone and finds the driver when it is used, so it imports where there is none.
if(NOT CODER_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "CODER_CUDA must be AUTO, ON or OFF, got ${CODER_CUDA}")
endif()
if(CODER_CUDA STREQUAL "OFF")
  return()
endif()

set(architectures_given ${CMAKE_CUDA_ARCHITECTURES})
if(NOT architectures_given)
  set(CMAKE_CUDA_ARCHITECTURES 75-real)  # else CMake asks for the machine's own GPU, which need not be there
endif()
include(CheckLanguage)
check_language(CUDA)
# Ends this file, and where the head is asked for the whole run. A macro: a function would only end itself.
macro(no_cuda_head why)
  if(CODER_CUDA STREQUAL "ON")
    message(FATAL_ERROR "CODER_CUDA=ON: ${why}; put a CUDA toolkit's own nvcc on PATH or set CUDACXX")
  endif()
  message(STATUS "CUDA head: not built, ${why}")
  return()
endmacro()
if(NOT CMAKE_CUDA_COMPILER)
  no_cuda_head("wanted a working nvcc (CUDA 11.8 or later), found none")
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 11.8)
  no_cuda_head("wanted nvcc 11.8 or later, got ${CMAKE_CUDA_COMPILER_VERSION}")
endif()
find_package(CUDAToolkit QUIET)
if(NOT TARGET CUDA::cudart_static)
  no_cuda_head("wanted CUDA's runtime (libcudart, libcudart_static.a) beside ${CMAKE_CUDA_COMPILER}, got none")
endif()

add_library(coder_cuda STATIC kernels/cuda/device_weights.cpp kernels/cuda/head.cpp kernels/cuda/launch.cu)
if(NOT architectures_given)
  # Code for each, and portable code of 9.0 for what comes after it.
  set(architectures 75-real 80-real 86-real 87-real 89-real 90)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    list(APPEND architectures 120-real)
  endif()
  set_target_properties(coder_cuda PROPERTIES CUDA_ARCHITECTURES "${architectures}")
endif()
set_target_properties(coder_cuda PROPERTIES
  CUDA_STANDARD 17 CUDA_RUNTIME_LIBRARY Static POSITION_INDEPENDENT_CODE ON
  CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden)
target_include_directories(coder_cuda PRIVATE kernels/cuda kernels/src)
target_link_libraries(coder_cuda PUBLIC coder_kernels PRIVATE CUDA::cudart_static)
# No fused multiply-add but where the source says fmaf: the sums are then those that the tests run on a CPU.
target_compile_options(coder_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:${CODER_CXX_OPTIONS}>
  $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --threads=2 -Xcompiler=-Wall,-Wextra>)

pybind11_add_module(_cuda MODULE kernels/python/cuda_bindings.cpp)
target_link_libraries(_cuda PRIVATE coder_cuda)
target_compile_options(_cuda PRIVATE ${CODER_CXX_OPTIONS})
set_target_properties(_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static)
install(TARGETS _cuda LIBRARY DESTINATION coder_engine)
