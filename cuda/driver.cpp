// Fills the table of driver.h from NVIDIA's libcuda, found at run time so that the plug-in loads on machines without
// it.
#include "driver.h"

#include <dlfcn.h>

extern "C" const unsigned char vin_cuda_image[];  // the fatbin, image.S

namespace vin {
namespace cuda {

static const char* fill(Driver& driver) {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return "Expected NVIDIA's driver but libcuda.so.1 was not found: install the driver, or use device 'cpu'";
#define VIN_DRIVER_FILL(field, symbol, parameters) \
    driver.field = reinterpret_cast<decltype(driver.field)>(dlsym(library, symbol)); \
    if (!driver.field) return "Expected " symbol " in libcuda.so.1 but this driver is too old: update it";
    VIN_DRIVER_TABLE(VIN_DRIVER_FILL)
#undef VIN_DRIVER_FILL
    if (driver.init(0) != CUDA_SUCCESS)
        return "Expected NVIDIA's driver to start but cuInit failed: is there a GPU, and may this process use it?";
    driver.image = vin_cuda_image;
    driver.name = "cuda";
    driver.build = VIN_TOOLKIT_VERSION;
    return nullptr;
}

const Driver* open_driver(const char** why) {
    static Driver driver = {};
    static const char* const problem = fill(driver);
    *why = problem;
    return problem ? nullptr : &driver;
}

}  // namespace cuda
}  // namespace vin
