// A backend whose slots do nothing: models run on it once to plan their memory.
#pragma once
#include "../backend.h"

namespace vin {
const vin_backend* plan_backend();
}
