// dtable[ids[n]] += dy[n]. What the ids are only the device knows: one that is not in the table adds to no row.
#include "reduce.cuh"
#include "rows.cuh"

using namespace vin::cuda;

VIN_KERNEL embedding_backward_kernel(GroupRows dtable, Rows dy, i64 n, i64 D);
VIN_KERNEL embedding_backward_sums_kernel(float* partials, Reduction r, GroupRows dtable, Rows dy, i64 D);

#if VIN_DEVICE
// A thread per column, in the order of n.
VIN_KERNEL embedding_backward_kernel(GroupRows dtable, Rows dy, i64 n, i64 D) {
    for_each_item(D, [&](i64 c) {
        for (i64 i = 0; i < n; i++) {
            const i64 id = group_of(dtable, i);
            if (id >= 0) dtable.data[id * dtable.stride + c] += row_of(dy, i)[c];
        }
    });
}
VIN_EMULATED_KERNEL(embedding_backward_kernel)

// The outputs are the table's elements, the terms all of dy's rows: those of other ids count as 0.
VIN_KERNEL embedding_backward_sums_kernel(float* partials, Reduction r, GroupRows dtable, Rows dy, i64 D) {
    sum_slices<1>(r, partials, [&](float (&value)[1], i64 output, i64 i) {
        const i64 id = output / D;
        if (group_of(dtable, i) == id) value[0] = row_of(dy, i)[output - id * D];
    });
}
VIN_EMULATED_KERNEL(embedding_backward_sums_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_embedding_backward(vin_stream* stream, const vin_embedding_backward_args* args) {
    const char* const op = "embedding_backward";
    const vin_tensor &dtable = args->dtable, &dy = args->dy, &ids = args->ids;
    VIN_CHECK(expect(op, "dy", dy, VIN_DTYPE_F32, ROWS, -1, -1));
    const int64_t n = dy.shape[0], D = dy.shape[1];
    VIN_CHECK(expect(op, "ids", ids, VIN_DTYPE_I32, DENSE, n));
    VIN_CHECK(expect(op, "dtable", dtable, VIN_DTYPE_F32, ROWS, -1, D));
    const int64_t table_rows = dtable.shape[0];
    if (n * D * table_rows == 0) return VIN_OK;
    // Many ids of few rows (buckets of distances) would make each column one long chain; many rows would be looked
    // through for each id.
    constexpr int64_t most_ids = 4096, most_rows = 1024;
    if (n <= most_ids || table_rows > most_rows) {
        constexpr int threads = 32;  // few columns: as many blocks as they give
        return launch(grid_over(D, threads), {threads}, 0, stream, VIN_KERNEL_OF(embedding_backward_kernel),
                      group_rows(dtable, ids), rows(dy), n, D);
    }
    const Reduction r = reduction(table_rows * D, n, false);
    float* partials;
    VIN_CHECK(partials_of(stream, r, 1, &partials));
    VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<float>(1), stream,
                     VIN_KERNEL_OF(embedding_backward_sums_kernel), partials, r, group_rows(dtable, ids), rows(dy), D));
    return finish_sum(stream, dtable, partials, r.slices, true);
}
#endif
