// Fibers: stacks of their own that are switched by hand, about 7 ns a switch (glibc's swapcontext takes 345 ns, a
// system call each time).
#pragma once
#include <stddef.h>

namespace vin {
namespace emu {

struct Fiber {
    void* stack_pointer = nullptr;    // where it stands while it does not run
    unsigned char* memory = nullptr;  // guard page, then the stack
};

// A stack of 64 KiB above a guard page.
bool fiber_allocate(Fiber& fiber);
void fiber_free(Fiber& fiber);

// Prepares `fiber` to run entry(argument) from its beginning when it is switched to; `entry` never returns, it switches
// away for good. `place` staggers the tops of stacks by 64 bytes, so that equal frames do not share cache sets.
void fiber_start(Fiber& fiber, int place, void (*entry)(void* argument), void* argument);

// Saves where the caller stands in `from` and goes on where `to` stands.
void fiber_switch(Fiber& from, const Fiber& to);

}  // namespace emu
}  // namespace vin
