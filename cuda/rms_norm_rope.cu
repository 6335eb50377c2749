// For each row r and head h of x [R, H, d]: n = weight · x · rstd with rstd = 1 / √(mean(x²) + eps), then each adjacent
// pair (n₀, n₁) turns by the (cos, sin) of its line r / rows_per_position of rope [P, d]: (n₀ cos − n₁ sin, n₁ cos + n₀
// sin). Without weight there is no norm and rstd is 1.
#include "rope.cuh"

using namespace vin::cuda;

VIN_KERNEL rms_norm_rope_kernel(RowHeads y, float* rstd, RowHeads x, const float* weight, Rope rope, i64 R, i64 H,
                                i64 d, float eps);

#if VIN_DEVICE
// 32 threads per head.
VIN_KERNEL rms_norm_rope_kernel(RowHeads y, float* rstd, RowHeads x, const float* weight, Rope rope, i64 R, i64 H,
                                i64 d, float eps) {
    const SharedArray<float> squares = shared_array<float>(0, row_lanes * rows_per_block);
    const RowPlace place = row_place();
    const i64 r = place.r / H, h = place.r % H, size = r < R ? d : 0;
    const float* const from = head_of(x, r, h);
    float scale = 1;
    if (weight) {
        float square = 0;
        for_each_pair(place.lane, size, [&](i64 i, bool two) {
            square += from[i] * from[i];
            if (two) square += from[i + 1] * from[i + 1];
        });
        scale = 1.f / sqrtf(row_sum(squares, place, square) / (float)d + eps);
    }
    if (rstd && r < R && place.lane == 0) rstd[place.r] = scale;
    if (!y.data || r >= R) return;
    const float* const line = line_of(rope, r);
    for_each_pair(place.lane, size, [&](i64 i, bool two) {
        const auto normalised = [&](i64 at) { return weight ? from[at] * scale * weight[at] : from[at]; };
        Pair pair = {normalised(i), two ? normalised(i + 1) : 0};
        if (line) pair = turn(pair, line + i);
        float* const to = head_of(y, r, h) + i;
        to[0] = pair.first;
        if (two) to[1] = pair.second;
    });
}
VIN_EMULATED_KERNEL(rms_norm_rope_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_rms_norm_rope(vin_stream* stream, const vin_rms_norm_rope_args* args) {
    const char* const op = "rms_norm_rope";
    const vin_tensor &x = args->x, &rope = args->rope;
    VIN_CHECK(expect(op, "x", x, VIN_DTYPE_F32, ROWS, -1, -1, -1));
    const int64_t R = x.shape[0], H = x.shape[1], d = x.shape[2];
    VIN_CHECK(expect_if_present(op, "y", args->y, VIN_DTYPE_F32, ROWS, R, H, d));
    VIN_CHECK(expect_if_present(op, "rstd", args->rstd, VIN_DTYPE_F32, DENSE, R, H));
    VIN_CHECK(expect_if_present(op, "weight", args->weight, VIN_DTYPE_F32, DENSE, d));
    VIN_CHECK(expect_rope(op, rope, d, args->rows_per_position));
    if (R * H == 0) return VIN_OK;
    return launch(row_grid(R * H), row_block, row_shared_bytes(), stream, VIN_KERNEL_OF(rms_norm_rope_kernel),
                  row_heads(args->y), f32(args->rstd), row_heads(x), f32(args->weight),
                  rope_of(rope, args->rows_per_position), R, H, d, args->eps);
}
#endif
