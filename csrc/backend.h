/* The backend ABI in plain C (architecture.md §5). A backend fills one table of functions, one per line of ops.def.
   Only <stddef.h>, <stdint.h> and ops.def are included, so a plug-in can be built by any compiler. */
#ifndef VIN_BACKEND_H
#define VIN_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VIN_ABI 2
#define VIN_MAX_RANK 5

typedef int32_t vin_status;
enum {
    VIN_OK = 0,
    VIN_INVALID = 1,       /* wrong shape, stride or scalar: a bug of the caller */
    VIN_NOT_SUPPORTED = 2, /* this backend lacks the op, dtype or shape */
    VIN_OUT_OF_MEMORY = 3,
    VIN_DEVICE_ERROR = 4,
    VIN_ABORTED = 5,
    VIN_NONFINITE = 6,
    VIN_FORMAT = 7,
    VIN_NO_DRIVER = 8,      /* these six: a plug-in that refuses to open, or a device that it cannot use */
    VIN_DRIVER_TOO_OLD = 9, /* for the plug-in's toolkit */
    VIN_NO_CODE = 10,       /* the plug-in holds no kernels for this device */
    VIN_NO_DEVICE = 11,     /* the driver has no such device */
    VIN_NO_ACCESS = 12,     /* the machine has a driver that gives this process no device */
    VIN_NO_WSL_DRIVER = 13  /* a Linux of Windows to which Windows lends no driver */
};

enum {
    VIN_DTYPE_F32 = 0,
    VIN_DTYPE_BF16 = 1,
    VIN_DTYPE_F16 = 2,
    VIN_DTYPE_I32 = 3,
    VIN_DTYPE_U8 = 4,
    VIN_DTYPE_F64 = 5
};

enum { VIN_ACTIVATION_NONE = 0, VIN_ACTIVATION_GELU = 1, VIN_ACTIVATION_SILU = 2 };

/* A view: owns nothing. Strides count elements. data == NULL marks an absent optional operand or an output nobody
 * wants. */
typedef struct {
    void* data;
    int64_t shape[VIN_MAX_RANK], stride[VIN_MAX_RANK];
    int32_t rank, dtype;
} vin_tensor;

/* The argument struct of every op. */
#define VIN_OUT(field) vin_tensor field;
#define VIN_IN(field) vin_tensor field;
#define VIN_OPT(field) vin_tensor field;
#define VIN_I32(field) int32_t field;
#define VIN_F32(field) float field;
#define VIN_F64(field) double field;
#define VIN_OP(name, fields) \
    typedef struct { \
        fields \
    } vin_##name##_args;
#include "ops.def"
#undef VIN_OP
#undef VIN_OUT
#undef VIN_IN
#undef VIN_OPT
#undef VIN_I32
#undef VIN_F32
#undef VIN_F64

/* The number of every op: VIN_OP_linear … */
enum {
#define VIN_OP(name, fields) VIN_OP_##name,
#include "ops.def"
#undef VIN_OP
    VIN_OPS
};

/* Opaque; each backend has its own. */
typedef struct vin_stream vin_stream;
typedef struct vin_event vin_event;
typedef struct vin_graph vin_graph;

typedef struct {
    char name[128], uuid[40];
    uint64_t total_bytes, free_bytes;
    int32_t arch, driver;             /* 90 is sm_90; 13000 is CUDA 13.0; cpu: 0 */
    int32_t multiprocessors, streams; /* cores of the device; parallel tasks that pay, 0: the threads of the pool */
    uint32_t dtypes;                  /* 1 << VIN_DTYPE_…: what models may compute in */
} vin_device_info;

typedef struct {
    /* Runs body(context, 0 … tasks−1), possibly on several host threads, and returns when all have run. */
    void (*parallel)(void* pool, int64_t tasks, void (*body)(void* context, int64_t task), void* context);
    /* Scratch memory of the calling thread, 64-byte aligned, kept until the thread asks for `slot` again; NULL: there
     * is not that much memory. */
    void* (*scratch)(int32_t slot, size_t bytes);
} vin_host;

typedef struct {
    uint32_t abi, size;       /* checked at load; a mismatch names both numbers */
    const char *name, *build; /* "cpu" "cuda" "cuda-emu"; ISA or toolkit */
    uint32_t asynchronous;    /* 0: a call has finished when it returns */

    vin_status (*device_count)(int32_t* count);
    vin_status (*device_info)(int32_t device, vin_device_info* info);
    vin_status (*stream_open)(int32_t device, void* pool, vin_stream** stream);
    vin_status (*stream_close)(vin_stream* stream);
    vin_status (*stream_wait)(vin_stream* stream); /* the host waits */

    /* An event is open for any number of records. Where there is none on record, nothing waits. */
    vin_status (*event_open)(vin_stream* stream, vin_event** event);
    vin_status (*event_close)(vin_event* event);
    vin_status (*event_record)(vin_event* event, vin_stream* stream);
    vin_status (*event_wait)(vin_event* event);                       /* the host waits; any thread */
    vin_status (*stream_after)(vin_stream* stream, vin_event* event); /* the device waits, the host does not */

    /* Host memory that copies neither wait for nor stage; both NULL: that of malloc is as good. */
    vin_status (*host_alloc)(vin_stream* stream, size_t bytes, void** host);
    vin_status (*host_free)(vin_stream* stream, void* host);
    vin_status (*alloc)(vin_stream* stream, size_t bytes, void** data); /* 64-byte aligned */
    /* At once: nothing that is queued may use it. */
    vin_status (*free)(vin_stream* stream, void* data);
    /* Queued; `host` may be written again on return, which does not wait for kernels. */
    vin_status (*upload)(vin_stream* stream, void* device, const void* host, size_t bytes);
    /* Queued; `host` holds the bytes once an event behind it has come. */
    vin_status (*download)(vin_stream* stream, void* host, const void* device, size_t bytes);

    /* Device memory that an op needs beside its operands: from shapes, strides, scalars and which operands are absent,
     * never from addresses, since the dry run asks too. Any thread. NULL: none needs any. */
    size_t (*scratch_bytes)(int32_t op, const void* args);
    /* Hands it over, before the op that asked for it. */
    vin_status (*set_scratch)(vin_stream* stream, void* data, size_t bytes);

    vin_status (*capture_begin)(vin_stream* stream); /* these four: may be NULL */
    vin_status (*capture_end)(vin_stream* stream, vin_graph** graph);
    vin_status (*graph_launch)(vin_stream* stream, vin_graph* graph);
    vin_status (*graph_close)(vin_graph* graph);

#define VIN_OP(name, fields) vin_status (*name)(vin_stream * stream, const vin_##name##_args* args);
#include "ops.def"
#undef VIN_OP

    const char* (*last_error)(void); /* thread-local text of the last status */
} vin_backend;

/* A plug-in's only symbol. Fills *backend, whose abi and size the host compares with its own; with another host_abi
   nothing else. One that refuses leaves a status and, in last_error, the sentence that the user reads. It looks for the
   driver but does not start it, which may take long or never end: the first question about a device does. */
vin_status vin_backend_entry(uint32_t host_abi, const vin_host* host, vin_backend* backend);

#ifdef __cplusplus
}
#endif
#endif
