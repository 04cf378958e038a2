/* A stand-in for libcudart.so on machines without a GPU: the functions that vit_perception/engines/cuda.py uses.
 *
 * Stricter than a GPU where that finds mistakes. A device address cannot be read by the CPU: it is the address of
 * ordinary memory, shifted out of what a process can map. What is queued on a stream happens when the stream is
 * synchronised, not before.
 *
 * STANDIN_GPU         name,compute capability,integrated|discrete[,total MB,free MB]; a Jetson Nano if not set.
 * STANDIN_CUDA_FAULT  function:n:code[,...]: the n-th call of the function and all later ones fail with code. Codes from
 *                     700 on are sticky, as in CUDA: from then on every call fails.
 *
 * Functions named standin_... are for tests and for the stand-in TensorRT. With -DCUDA_HEADERS the compiler holds the
 * signatures to NVIDIA's headers.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CUDA_HEADERS
#include <cuda_runtime_api.h>
#else
enum cudaDeviceAttr { ANY_ATTRIBUTE };
enum cudaMemcpyKind { ANY_KIND };
typedef enum { cudaSuccess } cudaError_t;
typedef struct Stream *cudaStream_t;
struct cudaDeviceProp {
    char name[256];
    char rest[776]; /* 1032 bytes in all, as in CUDA 12: whoever offers less memory is overwritten */
};
#endif

enum { INVALID = 1, OUT_OF_MEMORY = 2, BAD_DEVICE = 101, BAD_HANDLE = 400, STICKY = 700 };
enum { TO_DEVICE = 1, TO_HOST = 2, ON_DEVICE = 3, DETECT = 4 };
#define MAPPED 2u
#define SHIFT ((uintptr_t)1 << 46)
#define SLOTS 256
#define QUEUE 64

typedef void (*Callback)(long);
typedef struct {
    Callback run; /* or, if NULL, a copy */
    long ticket;
    void *to, *from, *staged;
    size_t size;
} Operation;
typedef struct {
    int used, length;
    Operation queue[QUEUE];
} Queue;
typedef struct {
    char *page;
    size_t size;
    int on_host, mapped;
} Block;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static Block blocks[SLOTS];
static Queue streams[16] = {{1, 0, {{0}}}}; /* the first is the default stream */
static int allocation_calls, sticky;

static cudaError_t answer(int code) { return (cudaError_t)code; }

/* The code with which this call of `name` is to fail, or 0. */
static int fault(const char *name, int *calls) {
    const char *text = getenv("STANDIN_CUDA_FAULT");
    char function[64];
    int from, code, used;
    ++*calls;
    if (sticky) return sticky;
    while (text && sscanf(text, "%63[^:]:%d:%d%n", function, &from, &code, &used) == 3) {
        if (!strcmp(function, name) && *calls >= from) {
            if (code >= STICKY) sticky = code;
            return code;
        }
        text = text[used] == ',' ? text + used + 1 : NULL;
    }
    return 0;
}

#define ENTER(name)                       \
    static int calls;                     \
    pthread_mutex_lock(&mutex);           \
    int failed = fault(name, &calls);     \
    pthread_mutex_unlock(&mutex);         \
    if (failed) return answer(failed)

static Block *find(uintptr_t address, size_t size) {
    for (Block *b = blocks; b < blocks + SLOTS; b++)
        if (b->page && address >= (uintptr_t)b->page && address + size <= (uintptr_t)b->page + b->size) return b;
    return NULL;
}

/* Where the CPU finds `size` bytes at a device address; NULL if the device has no such memory. */
void *standin_host_address(void *device, size_t size) {
    uintptr_t address = (uintptr_t)device - SHIFT;
    pthread_mutex_lock(&mutex);
    Block *block = (uintptr_t)device >= SHIFT ? find(address, size) : NULL;
    int usable = block && (!block->on_host || block->mapped);
    pthread_mutex_unlock(&mutex);
    return usable ? (void *)address : NULL;
}

static int is_pinned(void *address, size_t size) {
    pthread_mutex_lock(&mutex);
    Block *block = find((uintptr_t)address, size);
    int pinned = block && block->on_host;
    pthread_mutex_unlock(&mutex);
    return pinned;
}

static Queue *queue_of(void *stream) {
    if (!stream) return streams;
    for (Queue *q = streams + 1; q < streams + 16; q++)
        if (q == stream && q->used) return q;
    return NULL;
}

/* Do what is queued. The lock is not held meanwhile: a callback calls back into this library. */
static int drain(Queue *queue) {
    for (;;) {
        pthread_mutex_lock(&mutex);
        if (!queue->length) break;
        Operation next = queue->queue[0];
        memmove(queue->queue, queue->queue + 1, --queue->length * sizeof next);
        pthread_mutex_unlock(&mutex);
        if (next.run) next.run(next.ticket);
        else memcpy(next.to, next.from, next.size);
        free(next.staged);
    }
    int code = sticky;
    pthread_mutex_unlock(&mutex);
    return code;
}

static void drain_all(void) {
    for (Queue *q = streams; q < streams + 16; q++)
        if (q->used) drain(q);
}

static int push(Queue *queue, Operation operation) {
    pthread_mutex_lock(&mutex);
    int room = queue->length < QUEUE;
    if (room) queue->queue[queue->length++] = operation;
    pthread_mutex_unlock(&mutex);
    return room ? 0 : OUT_OF_MEMORY;
}

/* Queue run(ticket), as a kernel would be; 0 or an error code. */
int standin_enqueue(void *stream, Callback run, long ticket) {
    Queue *queue = queue_of(stream);
    Operation operation = {run, ticket, NULL, NULL, NULL, 0};
    if (sticky) return sticky;
    return queue ? push(queue, operation) : BAD_HANDLE;
}

/* A kernel went wrong: the context is lost. */
void standin_fail(int code) { sticky = code; }

int standin_live_allocations(void) {
    int n = 0;
    for (Block *b = blocks; b < blocks + SLOTS; b++) n += b->page != NULL;
    return n;
}

int standin_live_streams(void) {
    int n = 0;
    for (Queue *q = streams + 1; q < streams + 16; q++) n += q->used;
    return n;
}

int standin_allocation_calls(void) { return allocation_calls; }

static const char *device_field(int index) {
    static char text[5][256];
    const char *given = getenv("STANDIN_GPU");
    memset(text, 0, sizeof text);
    sscanf(given ? given : "NVIDIA Tegra X1,5.3,integrated,3964,2500",
           "%255[^,],%255[^,],%255[^,],%255[^,],%255[^,]", text[0], text[1], text[2], text[3], text[4]);
    return text[index];
}

cudaError_t cudaGetDeviceCount(int *count) {
    ENTER("cudaGetDeviceCount");
    *count = 1;
    return answer(0);
}

cudaError_t cudaGetDevice(int *device) {
    ENTER("cudaGetDevice");
    *device = 0;
    return answer(0);
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    ENTER("cudaRuntimeGetVersion");
    *version = 10020;
    return answer(0);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    ENTER("cudaDeviceGetAttribute");
    if (device) return answer(BAD_DEVICE);
    switch ((int)attribute) {
    case 75: *value = atoi(device_field(1)); return answer(0);
    case 76: *value = atoi(strchr(device_field(1), '.') + 1); return answer(0);
    case 18: *value = !strcmp(device_field(2), "integrated"); return answer(0);
    case 19: *value = 1; return answer(0);
    }
    return answer(INVALID);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    ENTER("cudaGetDeviceProperties");
    if (device) return answer(BAD_DEVICE);
    memset(properties, 0xA5, sizeof *properties);
    strncpy(properties->name, device_field(0), sizeof properties->name);
    return answer(0);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    ENTER("cudaMemGetInfo");
    *total = (size_t)atol(device_field(3)) << 20;
    *available = (size_t)atol(device_field(4)) << 20;
    return answer(0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    ENTER("cudaStreamCreate");
    for (Queue *q = streams + 1; q < streams + 16; q++)
        if (!q->used) {
            q->used = 1;
            *stream = (cudaStream_t)q;
            return answer(0);
        }
    return answer(OUT_OF_MEMORY);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    ENTER("cudaStreamSynchronize");
    Queue *queue = queue_of(stream);
    return answer(queue ? drain(queue) : BAD_HANDLE);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    ENTER("cudaStreamDestroy");
    Queue *queue = queue_of(stream);
    if (!queue || queue == streams) return answer(BAD_HANDLE);
    drain(queue);
    queue->used = 0;
    return answer(0);
}

static int allocate(void **address, size_t size, int on_host, int mapped) {
    int code = OUT_OF_MEMORY;
    pthread_mutex_lock(&mutex);
    allocation_calls++;
    for (Block *b = blocks; b < blocks + SLOTS && code; b++) {
        if (b->page) continue;
        Block made = {malloc(size ? size : 1), size, on_host, mapped};
        if (!made.page) break;
        memset(made.page, 0xFF, size); /* new memory holds anything: as floats, NaN */
        *b = made;
        *address = made.page + (on_host ? 0 : SHIFT);
        code = 0;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

static int release(uintptr_t address, int on_host) {
    int code = INVALID;
    drain_all();
    pthread_mutex_lock(&mutex);
    for (Block *b = blocks; b < blocks + SLOTS; b++)
        if (b->page && (uintptr_t)b->page == address && b->on_host == on_host) {
            free(b->page);
            memset(b, 0, sizeof *b);
            code = 0;
        }
    pthread_mutex_unlock(&mutex);
    return code;
}

cudaError_t cudaHostAlloc(void **address, size_t size, unsigned int flags) {
    ENTER("cudaHostAlloc");
    return answer(flags > 7 ? INVALID : allocate(address, size, 1, (flags & MAPPED) != 0));
}

cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned int flags) {
    ENTER("cudaHostGetDevicePointer");
    if (flags || !is_pinned(host, 1)) return answer(INVALID);
    *device = (char *)host + SHIFT;
    return answer(standin_host_address(*device, 1) ? 0 : INVALID);
}

cudaError_t cudaFreeHost(void *address) {
    ENTER("cudaFreeHost");
    return answer(address ? release((uintptr_t)address, 1) : 0);
}

cudaError_t cudaMalloc(void **address, size_t size) {
    ENTER("cudaMalloc");
    return answer(allocate(address, size, 0, 0));
}

cudaError_t cudaFree(void *address) {
    ENTER("cudaFree");
    return answer(address ? release((uintptr_t)address - SHIFT, 0) : 0);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream) {
    ENTER("cudaMemcpyAsync");
    Queue *queue = queue_of(stream);
    void *device_to = standin_host_address(to, size), *device_from = standin_host_address((void *)from, size);
    int direction = device_to ? (device_from ? ON_DEVICE : TO_DEVICE) : (device_from ? TO_HOST : 0);
    Operation copy = {NULL, 0, device_to ? device_to : to, device_from ? device_from : (void *)from, NULL, size};
    if (!queue) return answer(BAD_HANDLE);
    if ((int)kind != DETECT && (int)kind != direction) return answer(INVALID);
    if (direction == TO_DEVICE && !is_pinned(copy.from, size)) { /* memory that is not pinned is staged at once */
        copy.staged = memcpy(malloc(size ? size : 1), from, size);
        copy.from = copy.staged;
    }
    int code = push(queue, copy);
    if (!code && direction == TO_HOST && !is_pinned(to, size)) code = drain(queue); /* and waited for */
    return answer(code);
}

const char *cudaGetErrorString(cudaError_t code) {
    switch ((int)code) {
    case 0: return "no error";
    case 1: return "invalid argument";
    case 2: return "out of memory";
    case 3: return "initialization error";
    case 35: return "CUDA driver version is insufficient for CUDA runtime version";
    case 100: return "no CUDA-capable device is detected";
    case 101: return "invalid device ordinal";
    case 209: return "no kernel image is available for execution on the device";
    case 400: return "invalid resource handle";
    case 700: return "an illegal memory access was encountered";
    case 719: return "unspecified launch failure";
    case 999: return "unknown error";
    }
    return "unrecognized error code";
}
