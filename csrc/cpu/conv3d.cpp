// y[t,h,w,o] = residual + bias[o] + Σ_{a,b,c,i} weight[o,i,a,b,c] · x[t·stride_t − pad_t + a, h·stride_s − pad_s + b,
// w·stride_s − pad_s + c, i] as one product: windows of x [T'·H'·W', kt·kh·kw·I] by weight [kt·kh·kw·I, O], both
// gathered while they are packed.
#include "gemm/output.h"
#include "gemm/window.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status conv3d(vin_stream* stream, const vin_conv3d_args* args) {
    const vin_tensor &y = args->y, &x = args->x, &weight = args->weight;
    if (vin_status status = expect("x", x, VIN_DENSE, -1, -1, -1, -1)) return status;
    if (vin_status status = expect("weight", weight, VIN_DENSE, -1, x.shape[3], -1, -1, -1)) return status;
    const int64_t O = weight.shape[0], I = weight.shape[1], kt = weight.shape[2], kh = weight.shape[3],
                  kw = weight.shape[4];
    if (vin_status status = expect("y", y, VIN_DENSE, -1, -1, -1, O)) return status;
    if (vin_status status = expect_if_present("bias", args->bias, VIN_DENSE, O)) return status;
    if (present(args->residual))
        if (vin_status status = expect_like("residual", args->residual, VIN_DENSE, y)) return status;
    if (args->stride_t < 1 || args->stride_s < 1)
        return vin_cpu_refuse(VIN_INVALID, "expected strides of at least 1, found %d in time and %d in space",
                              (int)args->stride_t, (int)args->stride_s);

    const Windows windows = {
        f32(x),     x.shape[0], x.shape[1],     x.shape[2],     I,           kt,          kh,         kw,
        y.shape[1], y.shape[2], args->stride_t, args->stride_s, args->pad_t, args->pad_s, args->pad_s};
    const WeightLines lines = {f32(weight), I * kt * kh * kw, kt * kh * kw, I, {kt, 0, 1},
                               {kh, 0, 1},  {kw, 0, 1},       kh,           kw};
    const FinishRows out = {f32(y), f32(args->bias),    nullptr, f32(args->residual), nullptr, O, 0,
                            O,      VIN_ACTIVATION_NONE};
    return multiply(stream, y.shape[0] * y.shape[1] * y.shape[2], O, kt * kh * kw * I, WindowsAlongK{windows}, lines,
                    out);
}

}  // namespace vin::cpu::VIN_CPU_ISA
