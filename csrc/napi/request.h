// The evaluation request of JavaScript (EvaluationRequest in lib/native/binding.ts), taken apart here and nowhere else.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "../models/denoise.h"
#include "binding.h"

namespace vin {

// A tensor of a request: a handle until the command runs, or its shape alone where memory is planned.
struct Operand {
    bool given = false;
    Shape shape;
    HandleRef handle;

    explicit operator bool() const { return given; }
};

// What stands in a request for its tensors. In training the text may be left out: the trainer is told what it is.
enum class Given { tensors, tensors_without_text, shapes };

struct PendingEvaluation {
    DenoiseRequest request;  // all but the tensors
    Operand latents, text, negative_text, global_tokens_from, memory, residuals;
    int tasks_in_flight = 0;
    std::shared_ptr<Cancel> cancel;

    DenoiseRequest resolved() const;         // engine thread: with the values of the handles
    DenoiseRequest planned(Ops& ops) const;  // with tensors of these shapes, for a dry run

private:
    DenoiseRequest with(const std::function<Tensor(const Operand&)>& tensor_of) const;
};
PendingEvaluation evaluation_from_js(const Napi::Object& object, const Transformer& model,
                                     Given given = Given::tensors);

}  // namespace vin
