// What the VAE is called in files: config keys, weight names and shapes (opensora.md §3), and how video frames map to
// latent frames (model.md §7).
#include <algorithm>

#include "vae.h"

namespace vin {

VaeConfig vae_config(const JsonField& json) {
    VaeConfig c;
    ConfigReader read(json);
    read.named("_class_name", {"OpenSoraVAE_V1_2", "VideoAutoencoderPipeline"});
    read.named("model_type", {"VideoAutoencoderPipeline"});
    const auto expect_levels = [](const JsonField& field, const char* why) {
        if (field.present_and_not_null() && field.size() != 4) field.unsupported(concat("4 levels", why));
    };
    expect_levels(read["block_out_channels"], " (8 × 8 pixels a latent)");
    c.block_out_channels = read.integers("block_out_channels", 1, 4096, c.block_out_channels);
    if (c.block_out_channels.back() > 512)
        read["block_out_channels"].fail("at most 512 channels in the last block, the width of its one attention head");
    c.layers_per_block = read.integer("layers_per_block", 1, 16, c.layers_per_block);
    c.norm_num_groups = read.integer("norm_num_groups", 1, 512, c.norm_num_groups);
    const auto expect_groups = [&](int64_t channels, const char* of) {
        if (channels % c.norm_num_groups != 0) read["norm_num_groups"].fail("a divisor of ", channels, " ", of);
    };
    for (int64_t channels : c.block_out_channels) expect_groups(channels, "block_out_channels");
    const int64_t latent_channels = VaeConfig::latent_channels;
    read.integer("latent_channels", latent_channels, latent_channels, latent_channels);
    c.scaling_factor = read.number("scaling_factor", 1e-6, 1e6, c.scaling_factor);

    ConfigReader temporal(read["temporal"].or_empty());
    c.temporal_filters = temporal.integer("filters", 1, 4096, c.temporal_filters);
    c.temporal_res_blocks = temporal.integer("num_res_blocks", 1, 16, c.temporal_res_blocks);
    expect_levels(temporal["channel_multipliers"], "");
    c.temporal_multipliers = temporal.integers("channel_multipliers", 1, 64, c.temporal_multipliers);
    for (int64_t multiplier : c.temporal_multipliers)
        expect_groups(c.temporal_filters * multiplier, "temporal.filters times a multiplier");
    c.temporal_downsample = temporal.booleans("temporal_downsample", c.temporal_downsample);
    if (std::count(c.temporal_downsample.begin(), c.temporal_downsample.end(), true) != 2)
        temporal["temporal_downsample"].unsupported("two of three true (4 video frames a latent)");
    read.keep("temporal", temporal.resolved());

    if (const JsonField frames = read["micro_frame_size"]; frames.present() && !frames.present_and_not_null())
        frames.unsupported("a number of frames (null, all frames of a video as one micro-batch, is not computed)");
    c.micro_frame_size = read.integer("micro_frame_size", 1, 4096, c.micro_frame_size);
    const int64_t least = (c.micro_frame_size + VaeConfig::temporal_factor - 1) / VaeConfig::temporal_factor;
    c.micro_latent_size = read.integer("micro_latent_size", least, 4096, least);
    const auto channel_values = [&](const char* key, std::vector<float>& values) {
        const std::vector<double> given = read.numbers(key, static_cast<size_t>(latent_channels));
        if (!given.empty()) values.assign(given.begin(), given.end());
    };
    channel_values("shift", c.shift);
    channel_values("scale", c.scale);
    if (std::count(c.scale.begin(), c.scale.end(), 0.f) > 0) read["scale"].fail("numbers other than 0");
    c.resolved = read.resolved();
    return c;
}

namespace {

// Lists the weights of one part in the order of the data flow.
struct Lister {
    WeightList& list;

    void norm(Layer& layer, const std::string& name, int64_t channels) {
        list.add(layer.weight, {name + ".weight", {channels}, Init::one});
        list.add(layer.bias, {name + ".bias", {channels}, Init::zero});
    }
    void conv2d(Layer& layer, const std::string& name, int64_t in, int64_t out, int64_t kernel,
                Init init = Init::xavier) {
        list.layer(layer, name, {out, in, kernel, kernel}, true, init);
    }
    void conv3d(Layer& layer, const std::string& name, int64_t in, int64_t out, int64_t kernel, bool bias,
                Init init = Init::xavier) {
        list.layer(layer, name + ".conv", {out, in, kernel, kernel, kernel}, bias, init);
    }
    void spatial_block(VaeResidualBlock& block, const std::string& name, int64_t in, int64_t out) {
        norm(block.norm1, name + ".norm1", in);
        conv2d(block.conv1, name + ".conv1", in, out, 3);
        norm(block.norm2, name + ".norm2", out);
        conv2d(block.conv2, name + ".conv2", out, out, 3);
        if (in != out) conv2d(block.shortcut, name + ".conv_shortcut", in, out, 1);
    }
    void spatial_middle(VaeCoder& coder, const std::string& name, int64_t channels) {
        VaeAttentionBlock& attention = coder.attention;
        const auto projection = [&](Layer& layer, const char* projection) {
            list.layer(layer, name + ".attentions.0." + projection, {channels, channels}, true);
        };
        coder.middle.resize(2);
        spatial_block(coder.middle[0], name + ".resnets.0", channels, channels);
        norm(attention.group_norm, name + ".attentions.0.group_norm", channels);
        projection(attention.to_q, "to_q");
        projection(attention.to_k, "to_k");
        projection(attention.to_v, "to_v");
        projection(attention.to_out, "to_out.0");
        spatial_block(coder.middle[1], name + ".resnets.1", channels, channels);
    }
    void temporal_block(VaeResidualBlock& block, const std::string& name, int64_t in, int64_t out) {
        norm(block.norm1, name + ".norm1", in);
        conv3d(block.conv1, name + ".conv1", in, out, 3, false);
        norm(block.norm2, name + ".norm2", out);
        conv3d(block.conv2, name + ".conv2", out, out, 3, false);
        if (in != out) conv3d(block.shortcut, name + ".conv3", in, out, 1, false);
    }
};

std::string numbered(const std::string& name, size_t i) { return name + "." + std::to_string(i); }

void list_spatial(Lister w, const VaeConfig& c, VaeCoder& encoder, VaeCoder& decoder) {
    const std::string p = "spatial_vae.module.";
    const std::vector<int64_t>& channels = c.block_out_channels;
    const size_t layers = static_cast<size_t>(c.layers_per_block), last = channels.size() - 1;
    const int64_t z = VaeConfig::latent_channels;

    int64_t width = channels[0];
    w.conv2d(encoder.conv_in, p + "encoder.conv_in", 3, width, 3);
    encoder.levels.resize(last + 1);
    for (size_t i = 0; i <= last; i++) {
        const std::string name = numbered(p + "encoder.down_blocks", i);
        VaeLevel& level = encoder.levels[i];
        level.blocks.resize(layers);
        for (size_t j = 0; j < layers; j++, width = channels[i])
            w.spatial_block(level.blocks[j], numbered(name + ".resnets", j), width, channels[i]);
        if (i < last) w.conv2d(level.resample, name + ".downsamplers.0.conv", width, width, 3);
    }
    w.spatial_middle(encoder, p + "encoder.mid_block", width);
    w.norm(encoder.norm_out, p + "encoder.conv_norm_out", width);
    w.conv2d(encoder.conv_out, p + "encoder.conv_out", width, 2 * z, 3);
    w.conv2d(encoder.quant_conv, p + "quant_conv", 2 * z, 2 * z, 1);

    w.conv2d(decoder.quant_conv, p + "post_quant_conv", z, z, 1);
    w.conv2d(decoder.conv_in, p + "decoder.conv_in", z, width, 3);
    w.spatial_middle(decoder, p + "decoder.mid_block", width);
    decoder.levels.resize(last + 1);
    for (size_t i = 0; i <= last; i++) {
        const std::string name = numbered(p + "decoder.up_blocks", i);
        VaeLevel& level = decoder.levels[i];
        level.blocks.resize(layers + 1);
        for (size_t j = 0; j <= layers; j++, width = channels[last - i])
            w.spatial_block(level.blocks[j], numbered(name + ".resnets", j), width, channels[last - i]);
        if (i < last) w.conv2d(level.resample, name + ".upsamplers.0.conv", width, width, 3);
    }
    w.norm(decoder.norm_out, p + "decoder.conv_norm_out", width);
    w.conv2d(decoder.conv_out, p + "decoder.conv_out", width, 3, 3, Init::normal);
}

void list_temporal(Lister w, const VaeConfig& c, VaeCoder& encoder, VaeCoder& decoder) {
    const std::string p = "temporal_vae.";
    const size_t blocks = static_cast<size_t>(c.temporal_res_blocks), last = c.temporal_multipliers.size() - 1;
    const int64_t z = VaeConfig::latent_channels;
    const auto residual_blocks = [&](std::vector<VaeResidualBlock>& list, const std::string& name, int64_t in,
                                     int64_t out) {
        list.resize(blocks);
        for (size_t j = 0; j < blocks; j++) w.temporal_block(list[j], numbered(name, j), j ? out : in, out);
    };

    int64_t width = c.temporal_filters;
    w.conv3d(encoder.conv_in, p + "encoder.conv_in", z, width, 3, false);
    encoder.levels.resize(last + 1);
    for (size_t i = 0; i <= last; i++) {
        const int64_t out = c.temporal_filters * c.temporal_multipliers[i];
        residual_blocks(encoder.levels[i].blocks, numbered(p + "encoder.block_res_blocks", i), width, out);
        width = out;
        if (i < last && c.temporal_downsample[i])
            w.conv3d(encoder.levels[i].resample, numbered(p + "encoder.conv_blocks", i), width, width, 3, true);
    }
    residual_blocks(encoder.middle, p + "encoder.res_blocks", width, width);
    w.norm(encoder.norm_out, p + "encoder.norm1", width);
    w.conv3d(encoder.conv_out, p + "encoder.conv2", width, 2 * z, 1, true);
    w.conv3d(encoder.quant_conv, p + "quant_conv", 2 * z, 2 * z, 1, true);

    w.conv3d(decoder.quant_conv, p + "post_quant_conv", z, z, 1, true);
    w.conv3d(decoder.conv_in, p + "decoder.conv1", z, width, 3, true);
    residual_blocks(decoder.middle, p + "decoder.res_blocks", width, width);
    decoder.levels.resize(last + 1);
    for (size_t i = last + 1; i-- > 0;) {
        const int64_t out = c.temporal_filters * c.temporal_multipliers[i];
        VaeLevel& level = decoder.levels[last - i];
        residual_blocks(level.blocks, numbered(p + "decoder.block_res_blocks", i), width, out);
        width = out;
        if (i > 0 && c.temporal_downsample[i - 1])
            w.conv3d(level.resample, numbered(p + "decoder.conv_blocks", i - 1), width, 2 * width, 3, true);
    }
    w.norm(decoder.norm_out, p + "decoder.norm1", width);
    w.conv3d(decoder.conv_out, p + "decoder.conv_out", width, z, 3, true, Init::normal);
}

}  // namespace

void list_vae_weights(WeightList& list, const VaeConfig& c, VaeWeights& m) {
    list_spatial({list}, c, m.spatial_encoder, m.spatial_decoder);
    list_temporal({list}, c, m.temporal_encoder, m.temporal_decoder);
    const auto of_channels = [&](Tensor& tensor, const char* name, Init init) {
        WeightSpec spec{name, {1, VaeConfig::latent_channels, 1, 1, 1}, init};
        spec.optional = true;
        spec.scalar = true;  // upstream keeps a number of its config as a tensor without dimensions
        list.add(tensor, std::move(spec));
    };
    of_channels(m.shift, "shift", Init::zero);
    of_channels(m.scale, "scale", Init::one);
}

std::vector<WeightSpec> vae_weights(const VaeConfig& c) {
    WeightList list;
    VaeWeights unused;
    list_vae_weights(list, c, unused);
    return list.specs;
}

std::string vae_canonical_name(const std::string& name) {
    static const std::pair<const char*, const char*> older[] = {
        {".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."}, {".proj_attn.", ".to_out.0."}};
    for (const auto& [old_name, new_name] : older) {
        const size_t at = name.find(old_name);
        if (at != std::string::npos)
            return name.substr(0, at) + new_name + name.substr(at + std::string(old_name).size());
    }
    return name;
}

std::vector<MicroBatch> micro_batches(const VaeConfig& c, int64_t num_frames) {
    if (num_frames < 1) throw invalid("Expected at least 1 video frame but found ", num_frames);
    std::vector<MicroBatch> batches;
    for (int64_t frame = 0, latent = 0; frame < num_frames;) {
        const int64_t frames = std::min(c.micro_frame_size, num_frames - frame);
        const int64_t latents =
            (frames + VaeConfig::temporal_factor - 1) / VaeConfig::temporal_factor + c.extra_latents();
        batches.push_back({frame, frame + frames, latent, latent + latents});
        frame += frames;
        latent += latents;
    }
    return batches;
}

int64_t latent_frames(const VaeConfig& c, int64_t num_frames) {
    return num_frames < 1 ? 0 : micro_batches(c, num_frames).back().latent_end;
}

}  // namespace vin
