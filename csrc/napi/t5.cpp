// The text encoder as a JavaScript class.
#include "model.h"

namespace vin {

void T5Wrap::define(Napi::Env env) { define_model(env, {method<&T5Wrap::encode>("encode")}); }

Napi::Value T5Wrap::encode(const Napi::CallbackInfo& info) {
    const ModelRef model = held();
    const T5Config& config = model->model.t5->config;
    const std::shared_ptr<Cancel> cancel = optional_cancel(options_at(info, 1));
    std::vector<int32_t> ids;
    for (int64_t id : integers(info[0], "ids")) {
        if (id < 0 || id >= config.vocab_size)
            throw Error("VIN_INVALID", "Expected token ids from 0 to " + std::to_string(config.vocab_size - 1) +
                                           " but received " + std::to_string(id));
        ids.push_back(static_cast<int32_t>(id));
    }
    const HandleRef out = new_handle(model->engine, {static_cast<int64_t>(ids.size()), config.d_model});
    return submit(info.Env(), out, cancel, [=](Engine& engine) {
        const Tensor result = Tensor::allocate(engine.memory(), out->shape);
        engine.planned(PlanKey("t5", model->model.t5->weights.id()).add(out->shape), cancel.get(), 0,
                       [&](Ops& ops) { copy_into(ops, result, model->model.t5->encode(ops, ids)); });
        return result;
    });
}

}  // namespace vin
