#include "fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#if !defined(__x86_64__)
#error "the emulator's fibers know x86-64 only"
#endif

namespace vin {
namespace emu {

static constexpr size_t stack_bytes = 64 * 1024, guard_bytes = 4096;

// System V ABI: a callee keeps rbx, rbp, r12 … r15 and the stack pointer, and the control words of SSE and x87, which
// no kernel changes. All else is the caller's.
asm(R"(
    .text
    .p2align 4
    .type vin_emu_switch, @function
    .hidden vin_emu_switch
    .globl vin_emu_switch
vin_emu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size vin_emu_switch, . - vin_emu_switch

    .p2align 4
    .type vin_emu_begin, @function
    .hidden vin_emu_begin
    .globl vin_emu_begin
vin_emu_begin:
    mov %r13, %rdi
    call *%r12
    ud2
    .size vin_emu_begin, . - vin_emu_begin
)");
extern "C" void vin_emu_switch(void** from, void* to);
extern "C" void vin_emu_begin();

bool fiber_allocate(Fiber& fiber) {
    void* memory = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    if (mprotect(memory, guard_bytes, PROT_NONE) != 0) {
        munmap(memory, guard_bytes + stack_bytes);
        return false;
    }
    fiber.memory = static_cast<unsigned char*>(memory);
    return true;
}

void fiber_free(Fiber& fiber) {
    if (fiber.memory) munmap(fiber.memory, guard_bytes + stack_bytes);
    fiber = {};
}

void fiber_start(Fiber& fiber, int place, void (*entry)(void*), void* argument) {
    uintptr_t top =
        reinterpret_cast<uintptr_t>(fiber.memory + guard_bytes + stack_bytes) - static_cast<uintptr_t>(place % 32) * 64;
    // What vin_emu_switch pops: r15 r14 r13 r12 rbx rbp, then the address it returns to. `call` in vin_emu_begin then
    // finds a stack aligned to 16.
    void** frame = reinterpret_cast<void**>(top - 16) - 7;
    frame[0] = frame[1] = nullptr;
    frame[2] = argument;
    frame[3] = reinterpret_cast<void*>(entry);
    frame[4] = frame[5] = nullptr;
    frame[6] = reinterpret_cast<void*>(&vin_emu_begin);
    fiber.stack_pointer = frame;
}

void fiber_switch(Fiber& from, const Fiber& to) { vin_emu_switch(&from.stack_pointer, to.stack_pointer); }

}  // namespace emu
}  // namespace vin
