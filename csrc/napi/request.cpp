#include "request.h"

#include <cmath>

namespace vin {

DenoiseRequest PendingEvaluation::with(const std::function<Tensor(const Operand&)>& tensor_of) const {
    DenoiseRequest r = request;
    r.latents = tensor_of(latents);
    if (text) r.text = tensor_of(text);
    if (negative_text) r.negative_text = tensor_of(negative_text);
    if (global_tokens_from) r.global_tokens_from = tensor_of(global_tokens_from);
    if (memory) r.memory = tensor_of(memory);
    if (residuals) r.residuals = tensor_of(residuals);
    return r;
}
DenoiseRequest PendingEvaluation::resolved() const {
    return with([](const Operand& operand) { return operand.handle->value(); });
}
DenoiseRequest PendingEvaluation::planned(Ops& ops) const {
    return with([&](const Operand& operand) { return ops.empty(operand.shape); });
}

static Operand operand_from_js(const Napi::Object& object, const char* key, Given given) {
    if (given == Given::shapes) {
        const Napi::Value value = object.Get(key);
        if (!value.IsObject()) throw invalid("Expected the shape of ", key);
        return {true, shape_from_js(value.As<Napi::Object>().Get("shape")), nullptr};
    }
    const HandleRef handle = unwrap_tensor(object.Get(key), key);
    return {true, handle->shape, handle};
}
static Operand optional_operand(const Napi::Object& object, const char* key, Given given) {
    return has(object, key) ? operand_from_js(object, key, given) : Operand();
}

static void check_latents(const Shape& latents, const Transformer& m) {
    if (latents.size() != 4 || latents[0] != m.config.in_channels || latents[1] < 1 || latents[2] < 1 || latents[3] < 1)
        throw invalid("Expected latents of shape [", m.config.in_channels, ", N, H, W] but received ", latents);
}

static void check_text(const Shape& text, const Transformer& m, const char* what) {
    if (text.size() != 2 || text[1] != m.config.caption_channels)
        throw invalid("Expected ", what, " of shape [L, ", m.config.caption_channels, "] but received ", text);
}

// Absent: one chunk of all frames.
static std::vector<Chunk> chunks_from_js(const Napi::Object& object, int64_t frames) {
    if (!has(object, "chunks")) return {{0, 0, frames}};
    std::vector<Chunk> chunks;
    for (const Napi::Value& element : items(object.Get("chunks"), "of chunks")) {
        if (!element.IsObject()) throw invalid("Expected chunks of the form {first, start, end}");
        const Napi::Object object = element.As<Napi::Object>();
        const Chunk chunk{required_integer(object, "first"), required_integer(object, "start"),
                          required_integer(object, "end")};
        const bool after = chunks.empty() || (chunk.start >= chunks.back().end && chunk.first >= chunks.back().start);
        if (chunk.first < 0 || chunk.start < chunk.first || chunk.end <= chunk.start || chunk.end > frames || !after)
            throw invalid("Expected chunks in order inside ", frames,
                          " latent frames, each overlapping at most the one before, but received {first: ", chunk.first,
                          ", start: ", chunk.start, ", end: ", chunk.end, "}");
        chunks.push_back(chunk);
    }
    return chunks;
}

static std::vector<uint8_t> mask_from_js(const Napi::Object& object, int64_t frames) {
    std::vector<uint8_t> mask;
    if (!has(object, "frameMask")) return mask;
    for (int64_t value : integers(object.Get("frameMask"), "frameMask")) {
        if (value != 0 && value != 1) throw invalid("Expected 0 or 1 in frameMask but received ", value);
        mask.push_back(static_cast<uint8_t>(value));
    }
    if (static_cast<int64_t>(mask.size()) != frames)
        throw invalid("Expected ", frames, " values in frameMask but received ", mask.size());
    return mask;
}

static std::vector<double> frame_times_from_js(const Napi::Object& object, int64_t frames) {
    std::vector<double> times;
    if (!has(object, "frameTimesteps")) return times;
    for (const Napi::Value& value : items(object.Get("frameTimesteps"), "frameTimesteps")) {
        times.push_back(value.ToNumber().DoubleValue());
        if (!(times.back() >= 0 && times.back() <= 1e6))
            throw invalid("Expected numbers from 0 to 1e6 for frameTimesteps but received ", times.back());
    }
    if (static_cast<int64_t>(times.size()) != frames)
        throw invalid("Expected ", frames, " values in frameTimesteps but received ", times.size());
    return times;
}

// True, false, or one of them per chunk but the first.
static void fuse_from_js(const Napi::Object& object, DenoiseRequest& r) {
    if (!object.Get("fuse").IsArray()) {
        r.fuse = flag(object, "fuse", true);
        return;
    }
    r.fuse = true;
    for (const Napi::Value& value : items(object.Get("fuse"), "fuse")) r.fuse_overlaps.push_back(value.ToBoolean());
    if (r.fuse_overlaps.size() + 1 != r.chunks.size())
        throw invalid("Expected ", r.chunks.size() - 1, " values in fuse but received ", r.fuse_overlaps.size());
}

static std::vector<int64_t> keyframes_from_js(const Napi::Object& object, const Transformer& m, int64_t frames) {
    if (!m.config.has_vin)
        throw Error("VIN_MISSING_COMPONENT", "Expected weights named vin.* for global tokens but this model has none",
                    {{"component", "vin.*"}});
    const std::vector<int64_t> keyframes = integers(object.Get("keyframes"), "keyframes");
    for (int64_t k : keyframes)
        if (k < 0 || k >= frames) throw invalid("Expected keyframes from 0 to ", frames - 1, " but received ", k);
    return keyframes;
}

static std::vector<Range> ranges_from_js(const Napi::Object& object, const char* key, size_t chunks, int64_t rows) {
    std::vector<Range> ranges;
    if (!has(object, key)) return ranges;
    for (const Napi::Value& item : items(object.Get(key), key)) {
        const Napi::Object range = item.As<Napi::Object>();
        ranges.push_back({required_integer(range, "begin"), required_integer(range, "end")});
        if (ranges.back().begin < 0 || ranges.back().end < ranges.back().begin || ranges.back().end > rows)
            throw invalid("Expected ranges inside the text for ", key);
    }
    if (ranges.size() != chunks)
        throw invalid("Expected ", chunks, " ranges for ", key, " but received ", ranges.size());
    return ranges;
}

static int64_t rows_from_js(const Napi::Object& object, const char* key, int64_t rows) {
    if (!has(object, key)) return 0;
    const double value = required_number(object, key);
    if (!(value >= 1 && value <= static_cast<double>(rows) && value == std::floor(value)))
        throw invalid("Expected 1 to ", rows, " rows for ", key);
    return static_cast<int64_t>(value);
}

// methods.md §3, §4: {kind: 'windows', frames, stride} or {kind: 'frequencies', frames, cutoffTime, cutoffSpace,
// blend}.
static FrameAttention attention_from_js(const Napi::Object& request, const DenoiseRequest& r, int64_t frames) {
    FrameAttention a;
    if (!has(request, "attention")) return a;
    const Chunk& chunk = r.chunks.front();
    if (r.chunks.size() != 1 || chunk.first != 0 || chunk.start != 0 || chunk.end != frames || r.use_global_tokens)
        throw Error("VIN_INVALID", "Expected one chunk of all latent frames without keyframes for attention");
    const Napi::Object object = request.Get("attention").As<Napi::Object>();
    const std::string kind = object.Get("kind").ToString();
    const auto count = [&](const char* key, int64_t most) {
        const double value = required_number(object, key);
        if (!(value >= 1 && value <= static_cast<double>(most) && value == std::floor(value)))
            throw Error("VIN_INVALID",
                        "Expected an integer from 1 to " + std::to_string(most) + " for attention." + key);
        return static_cast<int64_t>(value);
    };
    a.frames = count("frames", frames);
    if (kind == "windows") {
        a.kind = FrameAttention::Kind::windows;
        a.stride = count("stride", a.frames);
    } else if (kind == "frequencies") {
        a.kind = FrameAttention::Kind::frequencies;
        a.cutoff_time = required_number(object, "cutoffTime");
        a.cutoff_space = required_number(object, "cutoffSpace");
        if (!(a.cutoff_time >= 0 && a.cutoff_space >= 0))
            throw Error("VIN_INVALID", "Expected cut-offs of at least 0 for attention");
        a.blend = flag(object, "blend", true);
    } else {
        throw Error("VIN_INVALID",
                    "Expected 'windows' or 'frequencies' for attention.kind but received '" + kind + "'");
    }
    return a;
}

// methods.md §5: {anchor?, anchorGuidanceScale?}
static void streaming_from_js(const Napi::Object& request, const Transformer& m, DenoiseRequest& r, int64_t frames) {
    if (!has(request, "streaming")) return;
    if (!m.config.has_cam && !m.config.has_apm)
        throw Error("VIN_MISSING_COMPONENT", "Expected weights named cam.* and apm.* but this model has none",
                    {{"component", "cam.*, apm.*"}});
    if (r.use_global_tokens || r.attention.kind != FrameAttention::Kind::whole)
        throw invalid("Expected neither keyframes nor attention beside streaming");
    const Napi::Object object = request.Get("streaming").As<Napi::Object>();
    r.streaming = true;
    r.anchor_guidance_scale = number(object, "anchorGuidanceScale", 1);
    if (!has(object, "anchor")) return;
    r.anchor = required_integer(object, "anchor");
    if (r.anchor < 0 || r.anchor >= frames)
        throw invalid("Expected an anchor from 0 to ", frames - 1, " but received ", r.anchor);
}

static FusionWeights fusion_weights_from_js(const Napi::Object& object, const Transformer& m) {
    const std::string name = text(object, "fusionWeights", "linear");
    if (name == "linear") return FusionWeights::linear;
    if (name == "raised-cosine") return FusionWeights::raised_cosine;
    if (name != "learned")
        throw invalid("Expected 'linear', 'raised-cosine' or 'learned' for fusionWeights but received '", name, "'");
    if (!m.config.has_fusion)
        throw Error("VIN_MISSING_COMPONENT", "Expected weights named fusion.* but this model has none",
                    {{"component", "fusion.*"}});
    return FusionWeights::learned;
}

static std::vector<int64_t> overlap_cuts_from_js(const Napi::Object& object, const std::vector<Chunk>& chunks) {
    if (!has(object, "overlapCuts")) return {};
    const std::vector<int64_t> cuts = integers(object.Get("overlapCuts"), "overlapCuts");
    if (cuts.size() + 1 != chunks.size())
        throw invalid("Expected ", chunks.size() - 1, " values in overlapCuts but received ", cuts.size());
    for (size_t i = 0; i < cuts.size(); i++)
        if (cuts[i] < 0 || cuts[i] > chunks[i + 1].start - chunks[i + 1].first)
            throw invalid("Expected 0 to ", chunks[i + 1].start - chunks[i + 1].first,
                          " frames in overlapCuts but received ", cuts[i]);
    return cuts;
}

static void memory_from_js(const Napi::Object& object, const Transformer& m, PendingEvaluation& p, Given given) {
    DenoiseRequest& r = p.request;
    p.memory = optional_operand(object, "memory", given);
    r.reads_memory = flag(object, "readsMemory", false);
    r.remembers_itself = flag(object, "remembersItself", false);
    if (!p.memory && !r.remembers_itself) return;
    if (!r.use_global_tokens) throw Error("VIN_INVALID", "Expected keyframes beside memory, which is of global tokens");
    if (!m.config.vin.memory)
        throw Error("VIN_MISSING_COMPONENT", "Expected weights named vin.memory.* but this model has none",
                    {{"component", "vin.memory.*"}});
    const Shape kept = {guidance_branches(r, static_cast<bool>(p.negative_text)), m.config.vin.num_global_tokens,
                        m.config.vin.dim};
    if (p.memory && p.memory.shape != kept)
        throw invalid("Expected memory of shape ", kept, " but received ", p.memory.shape);
}

PendingEvaluation evaluation_from_js(const Napi::Object& object, const Transformer& m, Given given) {
    PendingEvaluation p;
    p.latents = operand_from_js(object, "latents", given);
    check_latents(p.latents.shape, m);
    p.text = given == Given::tensors_without_text ? optional_operand(object, "text", given)
                                                  : operand_from_js(object, "text", given);
    if (p.text) check_text(p.text.shape, m, "text");
    p.negative_text = optional_operand(object, "negativeText", given);
    if (p.negative_text) check_text(p.negative_text.shape, m, "negativeText");
    p.global_tokens_from = optional_operand(object, "globalTokensFrom", given);
    if (p.global_tokens_from && p.global_tokens_from.shape != p.latents.shape)
        throw invalid("Expected globalTokensFrom of the shape of latents ", p.latents.shape, " but received ",
                      p.global_tokens_from.shape);
    const int64_t frames = p.latents.shape[1], rows = p.text ? p.text.shape[0] : 0,
                  negative_rows = p.negative_text ? p.negative_text.shape[0] : 0;

    DenoiseRequest& r = p.request;
    r.timestep = required_number(object, "timestep");
    r.fps = required_number(object, "fps");
    r.height = required_number(object, "height");
    r.width = required_number(object, "width");
    r.guidance_scale = number(object, "guidanceScale", 1);
    r.fusion_weights = fusion_weights_from_js(object, m);
    r.chunks = chunks_from_js(object, frames);
    fuse_from_js(object, r);
    r.frame_times = frame_times_from_js(object, frames);
    r.frame_mask = mask_from_js(object, frames);
    r.use_global_tokens = has(object, "keyframes");
    if (r.use_global_tokens) r.keyframes = keyframes_from_js(object, m, frames);
    r.attention = attention_from_js(object, r, frames);
    streaming_from_js(object, m, r, frames);
    r.overlap_cuts = overlap_cuts_from_js(object, r.chunks);
    r.fuse = r.fuse && r.overlap_cuts.empty();
    r.chunk_text = ranges_from_js(object, "chunkText", r.chunks.size(), rows);
    r.chunk_negative_text = ranges_from_js(object, "chunkNegativeText", r.chunks.size(), negative_rows);
    r.vin_text_rows = rows_from_js(object, "vinTextRows", rows);
    r.vin_negative_text_rows = rows_from_js(object, "vinNegativeTextRows", negative_rows);
    memory_from_js(object, m, p, given);
    p.residuals = optional_operand(object, "residuals", given);
    r.reuse_residuals = flag(object, "reuseResiduals", false);
    const Shape kept = {guidance_branches(r, static_cast<bool>(p.negative_text)), residual_rows(r, p.latents.shape),
                        m.config.hidden_size};
    if (p.residuals ? p.residuals.shape != kept : r.reuse_residuals)
        throw invalid("Expected residuals of shape ", kept, " but received ",
                      p.residuals ? to_string(p.residuals.shape) : "none");
    p.tasks_in_flight = static_cast<int>(number(object, "chunksInFlight", 0));
    p.cancel = optional_cancel(object);
    return p;
}

}  // namespace vin
