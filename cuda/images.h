// The images of a plug-in, one for each .cu file, and which of them holds a kernel. tools/cuda.mjs writes the table.
#pragma once

namespace vin {
namespace cuda {

struct KernelImage {
    const char* kernel;
    const void* image;
};
extern const KernelImage kernel_images[];  // ends with nulls

}  // namespace cuda
}  // namespace vin
