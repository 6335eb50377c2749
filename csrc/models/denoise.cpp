#include "denoise.h"

#include <algorithm>

#include "apm.h"
#include "cam.h"

namespace vin {

static bool denoised(const std::vector<uint8_t>& mask, int64_t begin, int64_t end) {
    return mask.empty() || std::any_of(mask.begin() + begin, mask.begin() + end, [](uint8_t m) { return m != 0; });
}

// One evaluation of the chunks among those that guidance puts together.
struct Branch {
    Tensor text;
    int64_t vin_rows;
    const std::vector<Range>* chunk_text;
    bool anchored;
};

static bool is_anchored(const DenoiseRequest& r) {
    return r.streaming && r.anchor >= 0 && r.anchor_guidance_scale != 0;
}
// In u + w (c − u) + w_anchor (a − c) the share of c, the text without the anchor, is w − w_anchor.
static bool needs_text_alone(const DenoiseRequest& r, bool negative_text) {
    const bool anchored = is_anchored(r);
    return r.guidance_scale != (anchored ? r.anchor_guidance_scale : 0) || !(anchored || negative_text);
}

int64_t guidance_branches(const DenoiseRequest& r, bool negative_text) {
    return needs_text_alone(r, negative_text) + is_anchored(r) + negative_text;
}

// The texts' branches, then the negative one.
static std::vector<Branch> branches_of(const DenoiseRequest& r) {
    const bool anchored = is_anchored(r);
    std::vector<Branch> branches;
    if (needs_text_alone(r, static_cast<bool>(r.negative_text)))
        branches.push_back({r.text, r.vin_text_rows, &r.chunk_text, false});
    if (anchored) branches.push_back({r.text, r.vin_text_rows, &r.chunk_text, true});
    if (r.negative_text) branches.push_back({r.negative_text, r.vin_negative_text_rows, &r.chunk_negative_text, false});
    return branches;
}

int64_t finite_flags_needed(const DenoiseRequest& r) {
    return static_cast<int64_t>(branches_of(r).size() * (r.chunks.size() + 1));
}

static int64_t frame_tokens(const Shape& latents) { return ((latents[2] + 1) / 2) * ((latents[3] + 1) / 2); }

FrameLevels frame_levels(const DenoiseRequest& r, bool masked) {
    FrameLevels levels;
    levels.times.push_back(r.timestep);
    if (masked) levels.times.push_back(0);
    for (size_t n = 0; n < static_cast<size_t>(r.latents.size(1)); n++) {
        if (!r.frame_mask.empty() && !r.frame_mask[n]) {
            levels.of_frame.push_back(1);
            continue;
        }
        const double time = r.frame_times.empty() ? r.timestep : r.frame_times[n];
        size_t level = 0;
        while (level < levels.times.size() && levels.times[level] != time) level++;
        if (level == levels.times.size()) levels.times.push_back(time);
        levels.of_frame.push_back(static_cast<int32_t>(level));
    }
    return levels;
}

int64_t residual_rows(const DenoiseRequest& r, const Shape& latents) {
    int64_t frames = 0;
    for (const Chunk& chunk : r.chunks) frames += chunk.end - chunk.first;
    return frames * frame_tokens(latents);
}

void check_finite_flags(Engine& engine, const Tensor& finite_flags, const Transformer& m) {
    const auto values = std::make_shared<std::vector<int32_t>>(static_cast<size_t>(finite_flags.numel()));
    engine.fetch(values->data(), finite_flags.view().data, values->size() * 4);
    engine.after([values, &m] {
        const auto set = std::find_if(values->begin(), values->end(), [](int32_t value) { return value != 0; });
        if (set == values->end()) return;
        const int code = *set - 1,
                  first = code >= cam_block_code   ? cam_block_code
                          : code >= vin_block_code ? vin_block_code
                                                   : 0,
                  block = code - first;
        const std::vector<TransformerBlock>& blocks = first == cam_block_code   ? m.cam.blocks
                                                      : first == vin_block_code ? m.vin.blocks
                                                                                : m.blocks;
        const std::string& name = blocks[static_cast<size_t>(block)].name;
        throw Error("VIN_NONFINITE",
                    concat("Expected finite numbers but found NaN or Inf after ", name,
                           "; check the weights, the latents and guidanceScale"),
                    {{"block", std::to_string(block)}, {"name", name}});
    });
}

// methods.md §5: what CAM and APM read, where the model has them. latents [C, B · N, H, W]; without `anchored` every
// anchor is the null anchor.
static void add_streaming(Ops& ops, const Transformer& m, const std::vector<const DenoiseRequest*>& videos,
                          const Tensor& latents, bool anchored, DitInputs& in) {
    const DenoiseRequest& first = *videos.front();
    if (m.config.has_cam) {
        in.latents = latents;
        in.height = first.height;
        in.width = first.width;
    }
    if (!m.config.has_apm) return;
    std::vector<Tensor> anchors;
    for (const DenoiseRequest* r : videos) {
        const bool given = anchored && r->anchor >= 0;
        anchors.push_back(given ? r->latents.slice(1, r->anchor, r->anchor + 1)
                                : ops.empty({latents.size(0), 1, latents.size(2), latents.size(3)}));
        if (!given) fill(ops, anchors.back(), 0);
    }
    in.anchor_tokens = anchor_tokens(ops, m, anchors.size() == 1 ? anchors.front() : concatenate(ops, anchors, 1));
}

// §3.1–§3.4 for one text of each video [B, L, D], of which the VIN reads the first vin_rows rows (0: all): everything
// that the chunks share. tokens [B, N, S, C]; `seen`: what the VIN reads; memory [B, G, d] or absent.
static DitInputs shared_inputs(Ops& ops, const Transformer& m, const std::vector<const DenoiseRequest*>& videos,
                               const Tensor& tokens, const Tensor& seen, const Tensor& text, int64_t vin_rows,
                               const Tensor& memory, const Tensor& finite_flag, DenoiseTrace* trace) {
    const DenoiseRequest& first = *videos.front();
    const int64_t B = static_cast<int64_t>(videos.size()), N = tokens.size(1);
    DitInputs in;
    in.video_tokens = tokens;
    in.attention = first.attention;
    const bool masked =
        std::any_of(videos.begin(), videos.end(), [](const DenoiseRequest* r) { return !r->frame_mask.empty(); });
    std::vector<FrameLevels> levels;
    size_t most = 1;
    for (const DenoiseRequest* r : videos) {
        levels.push_back(frame_levels(*r, masked));
        most = std::max(most, levels.back().times.size());
    }
    in.levels = static_cast<int32_t>(most);
    std::vector<float> timesteps, fps;
    for (size_t b = 0; b < videos.size(); b++) {
        levels[b].times.resize(most, 0);
        for (double time : levels[b].times) timesteps.push_back(static_cast<float>(time));
        fps.insert(fps.end(), most, static_cast<float>(videos[b]->fps));
        in.frame_level.insert(in.frame_level.end(), levels[b].of_frame.begin(), levels[b].of_frame.end());
    }
    if (B == 1) fps.resize(1);
    in.t_vec = time_vector(ops, m, timesteps, fps);
    in.mod = linear(ops, silu(ops, in.t_vec), m.t_block);
    if (first.reuse_residuals) return in;
    in.captions = captions(ops, m, text);
    if (first.use_global_tokens) {
        const int64_t C = in.t_vec.size(1);
        const Tensor noisy =
            contiguous(ops, in.t_vec.reshape({B, in.t_vec.size(0) / B, C}).slice(1, 0, 1)).reshape({B, C});
        const Tensor own_text = vin_rows ? contiguous(ops, text.slice(1, 0, vin_rows)) : text;
        Tensor before = first.reads_memory ? memory : Tensor();
        if (first.remembers_itself) {
            Tape* const tape = ops.tape;
            ops.tape = nullptr;
            before = read_video(ops, m, seen, first.keyframes, own_text, noisy, finite_flag).tokens;
            ops.tape = tape;
        }
        const GlobalTokens z = read_video(ops, m, seen, first.keyframes, own_text, noisy, finite_flag, before);
        if (memory) copy_into(ops, memory, z.tokens);
        in.global_tokens = z.projected;
        in.vin_tokens = z.tokens;
        if (trace) {
            trace->global_tokens = z.tokens.rows();
            trace->global_tokens_projected = z.projected.rows();
        }
    }
    if (trace) {
        trace->t_vec = in.t_vec;
        trace->video_tokens = tokens.reshape({N, tokens.size(2), tokens.size(3)});
    }
    return in;
}

void forward(Ops& ops, const Transformer& m, const DenoiseRequest& request, const Tensor& output) {
    DenoiseRequest r = request;
    r.use_global_tokens = false;
    const Tensor tokens = video_tokens(ops, m, r.latents, 1, r.height, r.width);
    const DitInputs in = shared_inputs(ops, m, {&r}, tokens, tokens, one_of_batch(r.text), 0, {}, {}, nullptr);
    copy_into(ops, output,
              denoise_chunk(ops, m, in, {0, 0, r.latents.size(1)}, m.config.out_channels(), r.latents.size(2),
                            r.latents.size(3), true, {}));
}

Tensor first_input(Ops& ops, const Transformer& m, const DenoiseRequest& request) {
    DenoiseRequest r = request;
    r.reuse_residuals = true;
    const Tensor tokens = video_tokens(ops, m, r.latents, 1, r.height, r.width);
    return first_input(ops, m, shared_inputs(ops, m, {&r}, tokens, tokens, {}, 0, {}, {}, nullptr));
}

// A product of up to so many rows may sum in another order than one of more (csrc/cpu/linear.cpp).
static constexpr int64_t few_rows = 4;

// The rows of the captions that chunk i attends to. One with few rows makes its own keys and values: no bit of a chunk
// depends on the texts of others.
static DitInputs for_chunk(const DitInputs& in, const std::vector<Range>& ranges, size_t i) {
    DitInputs out = in;
    const int64_t L = in.captions.size(1);
    out.caption_rows = ranges.empty() ? Range{0, L} : ranges[i];
    out.captions = in.captions.slice(1, out.caption_rows.begin, out.caption_rows.end);
    if (out.captions.size(1) < L && out.captions.size(1) <= few_rows) out.keys_and_values.clear();
    return out;
}

PlanKey plan_key(const Transformer& m, const DenoiseRequest& r) {
    PlanKey key("denoise", m.weights.id());
    key.add(r.latents).add(r.text).add(r.negative_text).add(r.global_tokens_from).add(r.frame_mask);
    key.add(r.memory).add(r.reads_memory).add(r.remembers_itself);
    key.add(r.residuals).add(r.reuse_residuals).add(r.fuse_overlaps);
    key.add(times_of_rows(r));
    key.add(r.use_global_tokens)
        .add(r.keyframes)
        .add(r.fuse)
        .add(static_cast<int64_t>(r.fusion_weights))
        .add(r.vin_text_rows)
        .add(r.vin_negative_text_rows);
    const FrameAttention& a = r.attention;
    key.add(static_cast<int64_t>(a.kind))
        .add(a.frames)
        .add(a.stride)
        .add(a.blend && a.cutoff_time > 0 && a.cutoff_space > 0);
    key.add(r.streaming).add(is_anchored(r)).add(needs_text_alone(r, static_cast<bool>(r.negative_text)));
    key.add(r.overlap_cuts);
    key.add(static_cast<int64_t>(r.chunks.size()));
    for (const Chunk& chunk : r.chunks) key.add(chunk.first).add(chunk.start).add(chunk.end);
    for (const std::vector<Range>* ranges : {&r.chunk_text, &r.chunk_negative_text}) {
        key.add(static_cast<int64_t>(ranges->size()));
        for (const Range& range : *ranges) key.add(range.begin).add(range.end);
    }
    return key;
}

void denoise(Ops& ops, const Transformer& m, const DenoiseRequest& r, const Tensor& eps, const Tensor& finite_flags,
             DenoiseTrace* trace) {
    const std::vector<Branch> list = branches_of(r);
    const int64_t channels = eps.size(0), height = eps.size(2), width = eps.size(3),
                  n = static_cast<int64_t>(r.chunks.size()), branches = static_cast<int64_t>(list.size());
    const auto flag = [&](int64_t branch, int64_t place) {
        return finite_flags ? finite_flags.slice(0, branch * (n + 1) + place, branch * (n + 1) + place + 1) : Tensor();
    };
    if (finite_flags) fill(ops, finite_flags, 0);

    const Tensor tokens = video_tokens(ops, m, r.latents, 1, r.height, r.width);
    const Tensor seen = r.use_global_tokens && r.global_tokens_from
                            ? video_tokens(ops, m, r.global_tokens_from, 1, r.height, r.width)
                            : tokens;
    std::vector<DitInputs> inputs;
    for (int64_t branch = 0; branch < branches; branch++) {
        const Branch& b = list[static_cast<size_t>(branch)];
        const Tensor memory = r.memory ? r.memory.slice(0, branch, branch + 1) : Tensor();
        inputs.push_back(shared_inputs(ops, m, {&r}, tokens, seen, one_of_batch(b.text), b.vin_rows, memory,
                                       flag(branch, 0), branch ? nullptr : trace));
        if (r.streaming && !r.reuse_residuals) add_streaming(ops, m, {&r}, r.latents, b.anchored, inputs.back());
    }

    // Predictions of chunk i in both branches; a chunk that owns only conditioning frames has none.
    std::vector<Tensor> predictions(static_cast<size_t>(branches * n));
    std::vector<int64_t> evaluated;
    for (int64_t task = 0; task < branches * n; task++) {
        const Chunk& chunk = r.chunks[static_cast<size_t>(task % n)];
        if (!denoised(r.frame_mask, chunk.start, chunk.end)) continue;
        predictions[static_cast<size_t>(task)] = ops.empty({channels, chunk.end - chunk.first, height, width});
        evaluated.push_back(task);
    }
    // Made once for all chunks of a branch. A single chunk makes them block by block, which holds less memory; APM
    // changes the captions of every block.
    if (static_cast<int64_t>(evaluated.size()) > branches && !r.reuse_residuals && !r.streaming)
        for (DitInputs& in : inputs) in.keys_and_values = keys_and_values(ops, m, in);
    std::vector<int64_t> residual_from = {0};  // rows, of the chunk at the same place
    for (const Chunk& c : r.chunks)
        residual_from.push_back(residual_from.back() + (c.end - c.first) * frame_tokens(r.latents.shape()));
    parallel_tasks(ops, static_cast<int64_t>(evaluated.size()), [&](Ops& ops, int64_t i) {
        const int64_t task = evaluated[static_cast<size_t>(i)], branch = task / n, chunk = task % n;
        ops.chunk = static_cast<int>(chunk);
        const Branch& own = list[static_cast<size_t>(branch)];
        const DitInputs& shared = inputs[static_cast<size_t>(branch)];
        const DitInputs in =
            r.reuse_residuals ? shared : for_chunk(shared, *own.chunk_text, static_cast<size_t>(chunk));
        Residual residual;
        if (r.residuals)
            residual = {
                r.residuals.slice(0, branch, branch + 1)
                    .reshape({r.residuals.size(1), r.residuals.size(2)})
                    .slice(0, residual_from[static_cast<size_t>(chunk)], residual_from[static_cast<size_t>(chunk) + 1]),
                r.reuse_residuals};
        copy_into(ops, predictions[static_cast<size_t>(task)],
                  denoise_chunk(ops, m, in, r.chunks[static_cast<size_t>(chunk)], channels, height, width, false,
                                flag(branch, chunk + 1), residual));
    });

    // §3.6 fusion and §3.7 guidance.
    std::vector<Tensor> whole;
    for (int64_t branch = 0; branch < branches; branch++) {
        const Tensor y = branches == 1 ? eps : ops.empty(eps.shape());
        if (static_cast<size_t>(evaluated.size()) < predictions.size() || n == 0 || r.chunks.front().start > 0 ||
            r.chunks.back().end < eps.size(1))
            fill(ops, y, 0);
        const auto prediction = [&](int64_t i) { return predictions[static_cast<size_t>(branch * n + i)]; };
        for (int64_t i = 0; i < n; i++) {
            const Chunk& c = r.chunks[static_cast<size_t>(i)];
            if (!prediction(i)) continue;
            copy_into(ops, y.slice(1, c.start, c.end), prediction(i).slice(1, c.start - c.first, c.end - c.first));
        }
        for (int64_t i = 0; r.fuse && i + 1 < n; i++) {
            const Chunk &earlier = r.chunks[static_cast<size_t>(i)], &later = r.chunks[static_cast<size_t>(i + 1)];
            if (!prediction(i) || !prediction(i + 1) || later.start == later.first) continue;
            if (!r.fuse_overlaps.empty() && !r.fuse_overlaps[static_cast<size_t>(i)]) continue;
            fuse_overlap(ops, m, r.fusion_weights, y.slice(1, later.first, later.start),
                         prediction(i).slice(1, later.first - earlier.first, later.start - earlier.first),
                         prediction(i + 1).slice(1, 0, later.start - later.first));
        }
        for (size_t i = 1; i <= r.overlap_cuts.size(); i++) {
            const Chunk& later = r.chunks[i];
            const Tensor p = prediction(static_cast<int64_t>(i));
            const int64_t cut = r.overlap_cuts[i - 1], overlap = later.start - later.first;
            if (p && cut < overlap)
                copy_into(ops, y.slice(1, later.first + cut, later.start), p.slice(1, cut, overlap));
        }
        whole.push_back(y);
    }
    if (r.negative_text && branches > 1)
        combine_into(ops, eps, r.guidance_scale, whole.front(), 1 - r.guidance_scale, whole.back());
    else if (branches > 1)
        copy_into(ops, eps, whole.front());
    if (branches > 1 && !list[0].anchored && list[1].anchored) {
        // The difference first: where both are equal, nothing changes to the bit.
        const Tensor difference = ops.empty(eps.shape());
        combine_into(ops, difference, 1, whole[1], -1, whole[0]);
        combine_into(ops, eps, 1, eps, r.anchor_guidance_scale, difference);
    }
    for (size_t f = 0; f < r.frame_mask.size(); f++)
        if (!r.frame_mask[f]) fill(ops, eps.slice(1, static_cast<int64_t>(f), static_cast<int64_t>(f) + 1), 0);
    if (trace) trace->chunks.assign(predictions.begin(), predictions.begin() + n);
}

bool same_shape(const DenoiseRequest& a, const DenoiseRequest& b) {
    const auto same_chunk = [](const Chunk& x, const Chunk& y) {
        return x.first == y.first && x.start == y.start && x.end == y.end;
    };
    return a.latents.shape() == b.latents.shape() && a.height == b.height && a.width == b.width &&
           std::equal(a.chunks.begin(), a.chunks.end(), b.chunks.begin(), b.chunks.end(), same_chunk) &&
           a.use_global_tokens == b.use_global_tokens && a.remembers_itself == b.remembers_itself &&
           a.keyframes == b.keyframes && a.streaming == b.streaming &&
           // The chunk whose turn it is in one is that of the other.
           (!a.streaming || a.frame_mask == b.frame_mask);
}

int64_t chunk_rows(const Transformer& m, const DenoiseRequest& r) {
    int64_t frames = 0;
    for (const Chunk& chunk : r.chunks) frames = std::max(frames, chunk.end - chunk.first);
    return frames * ((r.latents.size(2) + 1) / 2) * ((r.latents.size(3) + 1) / 2) +
           (r.use_global_tokens ? m.config.vin.num_global_tokens : 0);
}

// weight / K · Σ (f̂ − f)², f̂ = vin.global_features · LN(Z), the tokens behind one another.
static void global_feature_losses(Ops& ops, const Transformer& m, const std::vector<LossRequest>& batch,
                                  const Tensor& tokens, const std::vector<Tensor>& losses) {
    const auto given = [](const LossRequest& request) { return static_cast<bool>(request.global_features); };
    if (!tokens || std::none_of(batch.begin(), batch.end(), given)) return;
    const int64_t B = tokens.size(0), K = m.config.vin.global_features;
    const Tensor told =
        linear(ops, layer_norm(ops, tokens).reshape({B, tokens.size(1) * tokens.size(2)}), m.vin.global_features);
    for (int64_t b = 0; b < B; b++) {
        const LossRequest& request = batch[static_cast<size_t>(b)];
        if (!given(request)) continue;
        squared_error(ops, losses[static_cast<size_t>(b)], told.slice(0, b, b + 1).reshape({K, 1, 1, 1}),
                      request.global_features.reshape({K, 1, 1, 1}), {},
                      request.global_feature_weight / static_cast<double>(K), request.gradient_scale);
    }
}

void denoise_loss(Ops& ops, const Transformer& m, const std::vector<LossRequest>& batch, const Tensor& text,
                  const std::vector<Tensor>& losses) {
    const DenoiseRequest& first = batch.front().evaluation;
    const int64_t B = static_cast<int64_t>(batch.size()), channels = first.latents.size(0), N = first.latents.size(1),
                  height = first.latents.size(2), width = first.latents.size(3);
    std::vector<const DenoiseRequest*> videos;
    std::vector<Tensor> parts;
    for (const LossRequest& request : batch) {
        videos.push_back(&request.evaluation);
        parts.push_back(request.evaluation.latents);
    }
    const Tensor latents = B == 1 ? first.latents : concatenate(ops, parts, 1),
                 tokens = video_tokens(ops, m, latents, B, first.height, first.width);
    DitInputs in = shared_inputs(ops, m, videos, tokens, tokens, text, first.vin_text_rows, {}, {}, nullptr);
    if (first.streaming) add_streaming(ops, m, videos, latents, true, in);
    global_feature_losses(ops, m, batch, in.vin_tokens, losses);
    Tensor before;  // where fusion learns, what the chunk before predicts
    for (size_t i = 0; i < first.chunks.size(); i++) {
        const Chunk& chunk = first.chunks[i];
        const auto learns = [](const DenoiseRequest* r, const Chunk& chunk) {
            return denoised(r->frame_mask, chunk.start, chunk.end);
        };
        if (std::none_of(videos.begin(), videos.end(), [&](const auto* r) { return learns(r, chunk); })) {
            before = {};
            continue;
        }
        const size_t floor = ops.tape ? ops.tape->length() : 0;
        const int64_t F = chunk.end - chunk.first;
        const Tensor p = denoise_chunk(ops, m, in, chunk, channels, height, width, false, {});  // [C, B · F, H, W]
        for (int64_t b = 0; b < B; b++) {
            const LossRequest& request = batch[static_cast<size_t>(b)];
            const DenoiseRequest& r = request.evaluation;
            if (!learns(&r, chunk)) continue;
            const int64_t denoised_frames =
                r.frame_mask.empty()
                    ? N
                    : std::count_if(r.frame_mask.begin(), r.frame_mask.end(), [](uint8_t x) { return x != 0; });
            const double scale =
                1.0 / static_cast<double>(channels * height * width * std::max<int64_t>(1, denoised_frames));
            std::vector<float> weight;
            for (int64_t f = chunk.first; f < chunk.end; f++)
                weight.push_back(!r.frame_mask.empty() && !r.frame_mask[static_cast<size_t>(f)] ? 0.f
                                 : f < chunk.start ? static_cast<float>(request.context_loss_weight)
                                                   : 1.f);
            squared_error(ops, losses[static_cast<size_t>(b)], p.slice(1, b * F, (b + 1) * F),
                          request.target.slice(1, chunk.first, chunk.end), constant(ops, weight, {F}), scale,
                          request.gradient_scale);
            const int64_t overlap = chunk.start - chunk.first;
            if (!before || overlap == 0 || !learns(&r, first.chunks[i - 1])) continue;
            const Chunk& earlier = first.chunks[i - 1];
            const int64_t E = earlier.end - earlier.first, from = b * E + chunk.first - earlier.first;
            std::vector<float> counts;
            for (int64_t f = chunk.first; f < chunk.start; f++)
                counts.push_back(r.frame_mask.empty() || r.frame_mask[static_cast<size_t>(f)] ? 1.f : 0.f);
            fusion_loss(ops, m, losses[static_cast<size_t>(b)], before.slice(1, from, from + overlap),
                        p.slice(1, b * F, b * F + overlap), request.target.slice(1, chunk.first, chunk.start),
                        constant(ops, counts, {overlap}), scale, request.gradient_scale);
        }
        before = m.fusion_offsets && ops.wants(m.fusion_offsets) ? p : Tensor();
        if (ops.tape) ops.tape->run(ops, floor);
    }
    if (ops.tape) ops.tape->run(ops);
}

}  // namespace vin