// Makes an addon or a CUDA plug-in that was linked on a new glibc and libstdc++ run on those of 2018 (glibc 2.28,
// GCC 8): for each function whose default version is younger, a definition of this library's own that calls the older
// version, or does the work itself. The other objects bind to these, because exports.map hides them.
// tools/check-symbols.mjs holds both to that floor and names what is missing here.
#include <cstdlib>

#if defined(__GLIBC__) && defined(__GLIBCXX__) && (defined(__x86_64__) || defined(__aarch64__))

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <new>

// The oldest version of each C library; functions that it had from the start bear it.
#ifdef __x86_64__
#define BASE "GLIBC_2.2.5"
#define BASE_DLINFO "GLIBC_2.3.3"
#else
#define BASE "GLIBC_2.17"
#define BASE_DLINFO BASE
#endif

#define OLDER(name, symbol, version) __asm__(".symver " #name "," symbol "@" version)

extern "C" {

// 2.29: the same numbers with another way to report errors, which -fno-math-errno does not ask for.
double older_exp(double);
double older_log(double);
double older_pow(double, double);
OLDER(older_exp, "exp", BASE);
OLDER(older_log, "log", BASE);
OLDER(older_pow, "pow", BASE);
double own_exp(double x) __asm__("exp");
double own_log(double x) __asm__("log");
double own_pow(double x, double y) __asm__("pow");
double own_exp(double x) { return older_exp(x); }
double own_log(double x) { return older_log(x); }
double own_pow(double x, double y) { return older_pow(x, y); }

// 2.34: moved into libc.so.6 from libdl.so.2 and libpthread.so.0, which every Node has loaded.
void* older_dlopen(const char*, int);
void* older_dlsym(void*, const char*);
int older_dlinfo(void*, int, void*);
char* older_dlerror();
int older_mutex_trylock(void*);
OLDER(older_dlopen, "dlopen", BASE);
OLDER(older_dlsym, "dlsym", BASE);
OLDER(older_dlinfo, "dlinfo", BASE_DLINFO);
OLDER(older_dlerror, "dlerror", BASE);
OLDER(older_mutex_trylock, "pthread_mutex_trylock", BASE);
void* own_dlopen(const char* file, int mode) __asm__("dlopen");
void* own_dlsym(void* handle, const char* name) __asm__("dlsym");
int own_dlinfo(void* handle, int request, void* info) __asm__("dlinfo");
char* own_dlerror() __asm__("dlerror");
int own_mutex_trylock(void* mutex) __asm__("pthread_mutex_trylock");
void* own_dlopen(const char* file, int mode) { return older_dlopen(file, mode); }
void* own_dlsym(void* handle, const char* name) { return older_dlsym(handle, name); }
int own_dlinfo(void* handle, int request, void* info) { return older_dlinfo(handle, request, info); }
char* own_dlerror() { return older_dlerror(); }
int own_mutex_trylock(void* mutex) { return older_mutex_trylock(mutex); }

// 2.32: the same.
int older_sigmask(int how, const void* set, void* before);
OLDER(older_sigmask, "pthread_sigmask", BASE);
int own_sigmask(int how, const void* set, void* before) __asm__("pthread_sigmask");
int own_sigmask(int how, const void* set, void* before) { return older_sigmask(how, set, before); }

// 2.33: before, headers made them of other functions. On these machines `struct stat` is the kernel's.
int own_stat(const char* path, void* info) __asm__("stat64");
int own_lstat(const char* path, void* info) __asm__("lstat64");
int own_fstat(int file, void* info) __asm__("fstat64");
int own_stat(const char* path, void* info) {
    return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, path, info, 0));
}
int own_lstat(const char* path, void* info) {
    return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, path, info, AT_SYMLINK_NOFOLLOW));
}
int own_fstat(int file, void* info) { return static_cast<int>(syscall(SYS_fstat, file, info)); }

// 2.32: whether counters may skip their locks. They may not: engines have threads.
char own_single_threaded __asm__("__libc_single_threaded") = 0;

// GCC 12: noexcept was added.
void older_wait(void* condition, void* lock);
OLDER(older_wait, "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE", "GLIBCXX_3.4.11");
void own_wait(void* condition, void* lock) __asm__("_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE");
void own_wait(void* condition, void* lock) { older_wait(condition, lock); }

// GCC 11: what `new` throws for a negative length.
[[noreturn]] void own_bad_array_new_length() __asm__("_ZSt28__throw_bad_array_new_lengthv");
void own_bad_array_new_length() { throw std::bad_array_new_length(); }

// GCC 11: copying and destroying an exception_ptr, which the library did itself before, are inlined as far as these
// two.
void copy_exception(void* to, const void* from) __asm__("_ZNSt15__exception_ptr13exception_ptrC1ERKS0_");
void destroy_exception(void* pointer) __asm__("_ZNSt15__exception_ptr13exception_ptrD1Ev");
void own_add_reference(void* pointer) __asm__("_ZNSt15__exception_ptr13exception_ptr9_M_addrefEv");
void own_release(void* pointer) __asm__("_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv");
// A copy that is never destroyed holds one reference.
void own_add_reference(void* pointer) {
    void* copy;
    copy_exception(&copy, pointer);
}
void own_release(void* pointer) { destroy_exception(pointer); }
}

#endif
