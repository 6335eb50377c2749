// Fills the table of driver.h from NVIDIA's libcuda, found at run time so that the plug-in loads on machines without
// it.
#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "images.h"

namespace vin {
namespace cuda {

static const void* image_of(const char* kernel) {
    const KernelImage* row = kernel_images;
    while (kernel && row->kernel && strcmp(row->kernel, kernel) != 0) row++;
    return row->image;
}

// What the driver lacks, or null.
static const char* fill(Driver& driver, bool& too_old) {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return "Expected NVIDIA's driver but libcuda.so.1 was not found; install the driver, or use device 'cpu'";
    too_old = true;
#define VIN_DRIVER_FILL(field, symbol, parameters) \
    driver.field = reinterpret_cast<decltype(driver.field)>(dlsym(library, symbol)); \
    if (!driver.field) return "Expected " symbol " in libcuda.so.1 but this driver is too old; update it";
    VIN_DRIVER_TABLE(VIN_DRIVER_FILL)
#undef VIN_DRIVER_FILL
    int version = 0;
    if (driver.driver_version(&version) == CUDA_SUCCESS && version / 1000 < atoi(VIN_TOOLKIT_VERSION)) {
        static char text[128];
        snprintf(text, sizeof text, "Expected a driver for CUDA %d but found one for CUDA %d.%d; update it",
                 atoi(VIN_TOOLKIT_VERSION), version / 1000, version % 1000 / 10);
        return text;
    }
    too_old = false;
    if (const CudaResult result = driver.init(0)) {
        static char text[160];
        snprintf(text, sizeof text,
                 "Expected NVIDIA's driver to start but cuInit gave %d; is there a GPU, and may this process use it?",
                 result);
        return text;
    }
    driver.image_of = image_of;
    driver.name = "cuda";
    driver.build = VIN_TOOLKIT_VERSION;
    return nullptr;
}

const Driver* open_driver(const char** why, bool* too_old) {
    static Driver driver = {};
    static bool old = false;
    static const char* const problem = fill(driver, old);
    *why = problem;
    if (too_old) *too_old = old;
    return problem ? nullptr : &driver;
}

}  // namespace cuda
}  // namespace vin
