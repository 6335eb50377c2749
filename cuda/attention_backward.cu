// Gradients of attention. With P = exp(scale · q kᵀ + bias − lse) and D = Σ_d dy ∘ y per query:
//   dP = dy vᵀ,  dS = P ∘ (dP − D),  dv = Pᵀ dy,  dq = scale · dS k,  dk = scale · dSᵀ q,  dbias += dS.
// P is computed again, tile by tile, by each of the four: no gradient is added to by two blocks, and each has one
// order.
#include "attention.cuh"
#include "reduce.cuh"

using namespace vin::cuda;

// What dq, dk and dv have in common: rows of one side pass through those of the other in tiles, gradient[m] = factor ·
// Σ_n W(m, n) · z[n], with W = dS (dq, dk) or P (dv). For dq, m are queries and n keys; for dk and dv the other way
// round.
struct GradientSide {
    Heads score, slope;  // S and dP are products of the rows' score with the columns' score, and slope with slope
    i64 rows;
    int lse_step;  // 1: these rows are queries, which lse and D belong to
    i64 bias_step;
};
struct AttentionGradient {
    Heads gradient, z;
    GradientSide m, n;
    const float *lse, *inner;
    float* bias;
    i64 bias_batch, bias_head;
    i64 H, Q, first;  // rows before `first` get 0
    int d, slopes;    // slopes: W = dS
    float scale, factor;
};

// T and the tiles of 4T columns as in attention.cu.
VIN_KERNEL attention_gradient_few_kernel(AttentionGradient g);
VIN_KERNEL attention_gradient_kernel(AttentionGradient g);
VIN_KERNEL attention_gradient_wide_kernel(AttentionGradient g);
VIN_KERNEL attention_inner_kernel(float* inner, Heads dy, Heads y, i64 H, i64 Q, i64 rows, int d);
